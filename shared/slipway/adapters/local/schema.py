"""The tables of `slipway.db`, as the ordered steps that lead to them.

Step *n* brings a file from version *n - 1* to *n* (`PRAGMA user_version`). A step that was ever released is never
edited: a change is a new step at the end. Bodies are the JSON of `slipway.records`; the columns beside them are there
to be searched, and are NULL wherever a row has no place in the (partial) index, so that a finished item costs little.
"""

from __future__ import annotations

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE queues (
            entity TEXT NOT NULL,
            name TEXT NOT NULL,
            version INTEGER NOT NULL,
            max_jobs INTEGER NOT NULL,
            body TEXT NOT NULL,
            PRIMARY KEY (entity, name)
        ) STRICT""",
        # entity: who submitted. owner, queue: where it waits. waiting: its priority while it is in line for a slot.
        # building: the image while that is being built. ended: the state once it is terminal; kept apart from `state`
        # because an index on a column that every save sets would double what the save writes. submitted and body make
        # up the record's text; the first, which is most of it, is written once.
        """CREATE TABLE items (
            id TEXT PRIMARY KEY,
            version INTEGER NOT NULL,
            state TEXT NOT NULL,
            entity TEXT NOT NULL,
            owner TEXT NOT NULL,
            queue TEXT NOT NULL,
            idempotency_key TEXT,
            waiting INTEGER,
            building TEXT,
            due REAL,
            ended TEXT,
            submitted TEXT NOT NULL,
            body TEXT NOT NULL
        ) STRICT""",
        "CREATE UNIQUE INDEX items_by_idempotency_key ON items (entity, idempotency_key)"
        " WHERE idempotency_key IS NOT NULL",
        "CREATE INDEX items_in_line ON items (owner, queue, waiting, id) WHERE waiting IS NOT NULL",
        "CREATE INDEX items_building ON items (building, id) WHERE building IS NOT NULL",
        "CREATE INDEX items_due ON items (due, id) WHERE due IS NOT NULL",
        "CREATE INDEX items_by_entity ON items (entity, id)",
        "CREATE INDEX items_by_queue ON items (queue, id)",
        "CREATE INDEX items_by_end ON items (ended, id)",
        """CREATE TABLE slots (
            owner TEXT NOT NULL,
            queue TEXT NOT NULL,
            item_id TEXT NOT NULL,
            attempt INTEGER NOT NULL,
            PRIMARY KEY (owner, queue, item_id, attempt)
        ) STRICT, WITHOUT ROWID""",
        """CREATE TABLE builds (
            image TEXT PRIMARY KEY,
            version INTEGER NOT NULL,
            body TEXT NOT NULL
        ) STRICT""",
        """CREATE TABLE keys (
            digest TEXT PRIMARY KEY,
            body TEXT NOT NULL
        ) STRICT""",
        # receipt: of the latest delivery. An id may be used again once its message is gone, a receipt never is.
        """CREATE TABLE messages (
            id INTEGER PRIMARY KEY,
            topic TEXT NOT NULL,
            body TEXT NOT NULL,
            visible_at REAL NOT NULL,
            received INTEGER NOT NULL DEFAULT 0,
            receipt TEXT
        ) STRICT""",
        "CREATE INDEX messages_by_time ON messages (topic, visible_at)",
        """CREATE TABLE dead_letters (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            topic TEXT NOT NULL,
            body TEXT NOT NULL,
            reason TEXT NOT NULL,
            received INTEGER NOT NULL,
            at REAL NOT NULL
        ) STRICT""",
    ),
    # Of a message over all its deliveries. Its id is used again once it is gone.
    ("ALTER TABLE messages ADD COLUMN name TEXT",),
    # The same name, which a message keeps when it is brought back.
    ("ALTER TABLE dead_letters ADD COLUMN name TEXT",),
)
