"""The Store on SQLite. Every query is answered by an index; a save and its slot are one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import lru_cache

from slipway.adapters.local.database import Database, Values
from slipway.errors import NoSlot, Stale
from slipway.model import ApiKey, Build, Item, Queue, QueueKey, Slot, State
from slipway.records import (
    build_from_json,
    build_to_json,
    changing_part,
    item_from_json,
    key_from_json,
    key_to_json,
    queue_from_json,
    queue_to_json,
    submitted_part,
)


class SqliteStore:
    """A Store (see `slipway.ports`), safe under threads and processes that share the database's folder.

    Slots taken while a queue had a cap stay until they are released, whatever becomes of the queue.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- queues
    def queue(self, key: QueueKey) -> Queue | None:
        row = self._database.row("SELECT body FROM queues WHERE entity = ? AND name = ?", key)
        return None if row is None else _queue(row[0])

    def queues(self, entity: str | None = None) -> Sequence[Queue]:
        if entity is None:
            rows = self._database.rows("SELECT body FROM queues ORDER BY entity, name")
        else:
            rows = self._database.rows("SELECT body FROM queues WHERE entity = ? ORDER BY name", (entity,))
        return [queue_from_json(row[0]) for row in rows]

    def save_queue(self, queue: Queue) -> Queue:
        after = replace(queue, version=queue.version + 1)
        body = queue_to_json(after)
        if queue.version == 0:
            changed = self._database.write(
                "INSERT INTO queues (entity, name, version, max_jobs, body)"
                " VALUES (?, ?, 1, ?, ?) ON CONFLICT DO NOTHING",
                (queue.entity, queue.name, queue.max_jobs, body),
            )
        else:
            changed = self._database.write(
                "UPDATE queues SET version = ?, max_jobs = ?, body = ? WHERE entity = ? AND name = ? AND version = ?",
                (after.version, queue.max_jobs, body, queue.entity, queue.name, queue.version),
            )
        if not changed:
            raise Stale(self.queue(queue.key))
        return after

    def delete_queue(self, key: QueueKey) -> None:
        self._database.write("DELETE FROM queues WHERE entity = ? AND name = ?", key)

    # --- items
    def create(self, item: Item) -> Item:
        after = item.but(version=1)
        entity, key = item.submission.entity, item.submission.idempotency_key
        with self._database.transaction() as connection:
            if key is not None:
                row = connection.execute(_BY_KEY, (entity, key)).fetchone()
                if row is not None:
                    return item_from_json(row[0])
            row = connection.execute(_BY_ID, (item.id,)).fetchone()
            if row is not None:
                raise Stale(item_from_json(row[0]))
            connection.execute(
                "INSERT INTO items"
                " (version, state, waiting, building, due, body, ended, id, entity, owner, queue, idempotency_key,"
                " submitted) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*_changing(after), _ended(after), item.id, entity, *item.queue, key, submitted_part(item)),
            )
        return after

    def item(self, item_id: str) -> Item | None:
        row = self._database.row(_BY_ID, (item_id,))
        return None if row is None else item_from_json(row[0])

    def known(self, entity: str, idempotency_key: str | None) -> Item | None:
        # SQL's NULL equals nothing: without a key, no item is the same.
        row = self._database.row(_BY_KEY, (entity, idempotency_key))
        return None if row is None else item_from_json(row[0])

    def save(self, item: Item, slot: Slot = Slot.KEEP) -> Item:
        after = item.but(version=item.version + 1)
        if slot is Slot.KEEP:
            saved = _save(self._database.write, after)
        else:
            with self._database.transaction() as connection:
                saved = _save(lambda sql, values: connection.execute(sql, values).rowcount, after)
                if saved and slot is Slot.ACQUIRE:
                    _acquire(connection, item)
                elif saved:
                    connection.execute(_RELEASE, (*item.queue, item.id, item.attempt))
        if not saved:
            raise Stale(self.item(item.id))
        return after

    def items(
        self,
        entity: str | None = None,
        queue: str | None = None,
        states: Iterable[State] = (),
        limit: int = 100,
        before: str | None = None,
    ) -> Sequence[Item]:
        wanted = sorted(set(states))
        if not wanted:
            rows = self._page(None, entity, queue, limit, before)
        else:
            # A page of each state, merged: each is read off an index in order, where `state IN` would sort them all.
            rows = [row for state in wanted for row in self._page(state, entity, queue, limit, before)]
            rows = sorted(rows, reverse=True)[:limit]
        return [item_from_json(row[1]) for row in rows]

    def head(self, key: QueueKey) -> Item | None:
        row = self._database.row(_HEAD, key)
        return None if row is None else item_from_json(row[0])

    def ahead(self, item: Item, limit: int = 1000) -> int:
        rows = self._database.rows(_AHEAD, (*item.queue, item.priority, item.id, limit))
        return int(rows[0][0])

    def crowded(self) -> Sequence[QueueKey]:
        """By entity and name. One look into the index per queue, however long its line."""
        found: list[QueueKey] = []
        last = QueueKey("", "")
        while row := self._database.row(_NEXT_CROWDED, last):
            last = QueueKey(*row)
            found.append(last)
        return found

    def due(self, now: float, limit: int = 100) -> Sequence[str]:
        return [row[0] for row in self._database.rows(_DUE, (now, limit))]

    def wanting(self, image: str) -> Sequence[str]:
        return [row[0] for row in self._database.rows(_WANTING, (image,))]

    def slots(self, key: QueueKey) -> frozenset[str]:
        rows = self._database.rows("SELECT item_id, attempt FROM slots WHERE owner = ? AND queue = ?", key)
        return frozenset(f"{item_id}.{attempt}" for item_id, attempt in rows)

    def held(self) -> Sequence[tuple[QueueKey, str]]:
        rows = self._database.rows("SELECT owner, queue, item_id, attempt FROM slots")
        return [(QueueKey(owner, queue), f"{item_id}.{attempt}") for owner, queue, item_id, attempt in rows]

    def free(self, key: QueueKey, holder: str) -> None:
        item_id, _, attempt = holder.rpartition(".")
        self._database.write(
            "DELETE FROM slots WHERE owner = ? AND queue = ? AND item_id = ? AND attempt = ?", (*key, item_id, attempt)
        )

    # --- builds
    def build(self, image: str) -> Build | None:
        row = self._database.row("SELECT body FROM builds WHERE image = ?", (image,))
        return None if row is None else build_from_json(row[0])

    def save_build(self, build: Build) -> Build:
        after = replace(build, version=build.version + 1)
        body = build_to_json(after)
        if build.version == 0:
            changed = self._database.write(
                "INSERT INTO builds (image, version, body) VALUES (?, 1, ?) ON CONFLICT DO NOTHING", (build.image, body)
            )
        else:
            changed = self._database.write(
                "UPDATE builds SET version = ?, body = ? WHERE image = ? AND version = ?",
                (after.version, body, build.image, build.version),
            )
        if not changed:
            raise Stale(self.build(build.image))
        return after

    def builds(self, limit: int = 100) -> Sequence[Build]:
        rows = self._database.rows("SELECT body FROM builds ORDER BY rowid DESC LIMIT ?", (limit,))
        return [build_from_json(row[0]) for row in rows]

    # --- keys
    def key(self, digest: str) -> ApiKey | None:
        row = self._database.row("SELECT body FROM keys WHERE digest = ?", (digest,))
        return None if row is None else key_from_json(row[0])

    def keys(self) -> Sequence[ApiKey]:
        """The oldest first."""
        keys = [key_from_json(row[0]) for row in self._database.rows("SELECT body FROM keys")]
        return sorted(keys, key=lambda key: (key.created_at, key.digest))

    def save_key(self, key: ApiKey) -> None:
        self._database.write("INSERT OR REPLACE INTO keys (digest, body) VALUES (?, ?)", (key.digest, key_to_json(key)))

    def delete_key(self, digest: str) -> None:
        self._database.write("DELETE FROM keys WHERE digest = ?", (digest,))

    def _page(
        self, state: State | None, entity: str | None, queue: str | None, limit: int, before: str | None
    ) -> list[tuple[str, str]]:
        """(id, body), newest first. The narrowest index is named, for the planner has no statistics to know it by."""
        index = "end" if state else "queue" if queue is not None else "entity" if entity is not None else None
        filters = {"state": state, "queue": queue, "entity": entity}
        given = {column: value for column, value in filters.items() if value is not None}
        statement = _PAGE.format(
            index=f"INDEXED BY items_by_{index}" if index else "",
            state="" if state is None else f"ended = '{state}' AND " if state.terminal else "ended IS NULL AND ",
            given="".join(f"{column} = ? AND " for column in given),
        )
        return self._database.rows(statement, (*given.values(), _AFTER_ALL if before is None else before, limit))


# Every step asks for its queue, which hardly ever changes. The text is the key, so nothing here can be out of date.
_queue = lru_cache(maxsize=64)(queue_from_json)

_BY_ID = "SELECT submitted || body FROM items WHERE id = ?"
_BY_KEY = "SELECT submitted || body FROM items WHERE entity = ? AND idempotency_key = ?"
_SAVE_OPEN = (
    "UPDATE items SET version = ?, state = ?, waiting = ?, building = ?, due = ?, body = ?"
    " WHERE id = ? AND version = ? AND ended IS NULL"
)
_SAVE = (
    "UPDATE items SET version = ?, state = ?, waiting = ?, building = ?, due = ?, body = ?, ended = ?"
    " WHERE id = ? AND version = ?"
)
_RELEASE = "DELETE FROM slots WHERE owner = ? AND queue = ? AND item_id = ? AND attempt <= ?"
_HEAD = (
    "SELECT submitted || body FROM items WHERE waiting IS NOT NULL"
    " AND owner = ? AND queue = ? ORDER BY waiting, id LIMIT 1"
)
_AHEAD = (
    "SELECT COUNT(*) FROM (SELECT 1 FROM items WHERE waiting IS NOT NULL"
    " AND owner = ? AND queue = ? AND (waiting, id) < (?, ?) LIMIT ?)"
)
_NEXT_CROWDED = (
    "SELECT owner, queue FROM items WHERE waiting IS NOT NULL AND (owner, queue) > (?, ?) ORDER BY owner, queue LIMIT 1"
)
_DUE = "SELECT id FROM items WHERE due <= ? ORDER BY due, id LIMIT ?"
_WANTING = "SELECT id FROM items WHERE building = ? ORDER BY id"
_PAGE = "SELECT id, submitted || body FROM items {index} WHERE {state} {given} id < ? ORDER BY id DESC LIMIT ?"
_AFTER_ALL = "\U0010ffff"
"""Sorts after every id."""


def _changing(item: Item) -> tuple[int, str, int | None, str | None, float | None, str]:
    """The columns that a save may change: version, state, waiting, building, due, body."""
    return (
        item.version,
        item.state,
        item.priority if item.waiting else None,
        item.image if item.state is State.BUILDING else None,
        item.due,
        changing_part(item),
    )


def _ended(item: Item) -> str | None:
    return item.state if item.state.terminal else None


def _save(execute: Callable[[str, Values], int], after: Item) -> bool:
    """False when the version is not the one that was loaded."""
    values, guard = _changing(after), (after.id, after.version - 1)
    # Nearly every save leaves an open item open, and then has one index less to write.
    if not after.state.terminal and execute(_SAVE_OPEN, (*values, *guard)):
        return True
    return execute(_SAVE, (*values, _ended(after), *guard)) > 0


def _acquire(connection: sqlite3.Connection, item: Item) -> None:
    """Raises NoSlot, which rolls the save back."""
    row = connection.execute("SELECT max_jobs FROM queues WHERE entity = ? AND name = ?", item.queue).fetchone()
    if row is None or row[0] < 0:
        return
    slot = (*item.queue, item.id, item.attempt)
    held = connection.execute(
        "SELECT 1 FROM slots WHERE owner = ? AND queue = ? AND item_id = ? AND attempt = ?", slot
    ).fetchone()
    if held:
        return
    taken = connection.execute("SELECT COUNT(*) FROM slots WHERE owner = ? AND queue = ?", item.queue).fetchone()[0]
    if taken >= row[0]:
        raise NoSlot
    connection.execute("INSERT INTO slots (owner, queue, item_id, attempt) VALUES (?, ?, ?, ?)", slot)
