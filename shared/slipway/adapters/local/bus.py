"""The Bus on SQLite: durable, with a visibility timeout, delays, receive counts and dead letters.

A batch is claimed in one transaction and acknowledged in one. Whoever waits sleeps until a send wakes it (`wakeup`), or
until the next hidden message becomes visible.
"""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Sequence
from functools import cache
from typing import Any

from slipway.adapters.local.database import Database
from slipway.adapters.local.wakeup import Wakeup
from slipway.errors import NotFound
from slipway.model import DeadLetter, Message, Topic
from slipway.ports import Clock

_SHORTEST_WAIT = 0.005
"""Seconds. A clock that stands still may say for long that a message is about to be visible."""


class SqliteBus:
    """A Bus (see `slipway.ports`), safe under threads and processes that share the database's folder.

    `visibility`: seconds for which a delivery is hidden from others. After `max_receives` deliveries without an
    acknowledgement a message becomes a dead letter. Oldest visible first.
    """

    def __init__(
        self, database: Database, clock: Clock, wakeup: Wakeup, visibility: float = 60.0, max_receives: int = 5
    ) -> None:
        self._database = database
        self._clock = clock
        self._wakeup = wakeup
        self._visibility = visibility
        self._max_receives = max_receives

    def send(self, topic: Topic, body: str, delay: float = 0.0) -> None:
        self._database.write(_SEND, (topic, body, self._clock.now() + delay))
        self._wakeup.signal()

    def receive(self, topics: Sequence[Topic], limit: int = 1, wait: float = 0.0) -> Sequence[Message]:
        looking, claiming = _statements(len(topics))
        give_up = time.monotonic() + wait
        while True:
            # The mark before the look: a send after the look ends the wait.
            mark = self._wakeup.mark() if wait > 0 else 0
            now = self._clock.now()
            found = self._database.row(looking, topics)
            visible_at = None if found is None else found[0]
            if visible_at is not None and visible_at <= now:
                messages = self._claim(claiming, topics, now, limit)
                if messages:
                    return messages
                continue
            left = give_up - time.monotonic()
            if left <= 0:
                return []
            hidden = left if visible_at is None else max(visible_at - now, _SHORTEST_WAIT)
            self._wakeup.wait(mark, min(left, hidden))

    def ack(self, messages: Sequence[Message]) -> None:
        if len(messages) == 1:
            self._database.write(_DELETE, _receipt(messages[0]))
        elif messages:
            with self._database.transaction() as connection:
                connection.executemany(_DELETE, [_receipt(message) for message in messages])

    def retry(self, message: Message, reason: str, delay: float = 0.0) -> None:
        if message.received >= self._max_receives:
            self.bury(message, reason)
            return
        self._database.write(
            "UPDATE messages SET visible_at = ?, receipt = NULL WHERE id = ? AND receipt = ?",
            (self._clock.now() + delay, *_receipt(message)),
        )
        self._wakeup.signal()

    def bury(self, message: Message, reason: str) -> None:
        with self._database.transaction() as connection:
            _bury(connection, _receipt(message), reason, self._clock.now())

    def dead_letters(self, limit: int = 100) -> Sequence[DeadLetter]:
        """The latest first."""
        return [_letter(row) for row in self._database.rows(_LETTERS + " ORDER BY id DESC LIMIT ?", (limit,))]

    def dead_letter(self, letter_id: str) -> DeadLetter:
        row = self._database.row(_LETTERS + " WHERE id = ?", (letter_id,))
        if row is None:
            raise _no_letter(letter_id)
        return _letter(row)

    def redrive(self, letter_id: str) -> None:
        with self._database.transaction() as connection:
            topic, body, name = _bring(connection, letter_id)
            connection.execute(_BRING_BACK, (topic, body, self._clock.now(), name))
        self._wakeup.signal()

    def drop(self, letter_id: str) -> None:
        with self._database.transaction() as connection:
            _bring(connection, letter_id)

    def _claim(self, statement: str, topics: Sequence[Topic], now: float, limit: int) -> list[Message]:
        receipt = secrets.token_hex(8)
        each = [value for topic in topics for value in (topic, now, limit)]
        messages: list[Message] = []
        with self._database.transaction() as connection:
            rows = connection.execute(statement, (now + self._visibility, receipt, *each, limit)).fetchall()
            for message_id, topic, body, received, name in sorted(rows):
                if received > self._max_receives:
                    reason = f"delivered {received - 1} times and never acknowledged"
                    connection.execute("UPDATE messages SET received = received - 1 WHERE id = ?", (message_id,))
                    _bury(connection, (message_id, receipt), reason, now)
                else:
                    messages.append(Message(_TOPICS[topic], body, f"{message_id}:{receipt}", received, name or ""))
        return messages


_TOPICS = {str(topic): topic for topic in Topic}
_SEND = "INSERT INTO messages (topic, body, visible_at, name) VALUES (?, ?, ?, hex(randomblob(16)))"
_BRING_BACK = "INSERT INTO messages (topic, body, visible_at, name) VALUES (?, ?, ?, ?)"
_LETTERS = "SELECT id, topic, body, reason, received, at FROM dead_letters"
_DELETE = "DELETE FROM messages WHERE id = ? AND receipt = ?"
_LOOK = "SELECT MIN(t) FROM ({earliest})"
_CLAIM = (
    "UPDATE messages SET visible_at = ?, received = received + 1, receipt = ? WHERE id IN"
    " (SELECT id FROM ({oldest}) ORDER BY visible_at, id LIMIT ?) RETURNING id, topic, body, received, name"
)


@cache
def _statements(topics: int) -> tuple[str, str]:
    """When the next message is visible, and the claim of a batch: each topic read off the index in order."""
    earliest = " UNION ALL ".join(["SELECT MIN(visible_at) AS t FROM messages WHERE topic = ?"] * topics)
    oldest = " UNION ALL ".join(
        [
            "SELECT * FROM (SELECT id, visible_at FROM messages"
            " WHERE topic = ? AND visible_at <= ? ORDER BY visible_at, id LIMIT ?)"
        ]
        * topics
    )
    return _LOOK.replace("{earliest}", earliest), _CLAIM.replace("{oldest}", oldest)


def _receipt(message: Message) -> tuple[int, str]:
    message_id, _, receipt = message.receipt.partition(":")
    return int(message_id), receipt


def _bury(connection: sqlite3.Connection, receipt: tuple[int, str], reason: str, at: float) -> None:
    connection.execute(
        "INSERT INTO dead_letters (topic, body, name, reason, received, at)"
        " SELECT topic, body, name, ?, received, ? FROM messages WHERE id = ? AND receipt = ?",
        (reason, at, *receipt),
    )
    connection.execute(_DELETE, receipt)


def _bring(connection: sqlite3.Connection, letter_id: str) -> tuple[str, str, str | None]:
    """Topic, body and the message's name."""
    taken = "DELETE FROM dead_letters WHERE id = ? RETURNING topic, body, name"
    row: tuple[str, str, str | None] | None = connection.execute(taken, (letter_id,)).fetchone()
    if row is None:
        raise _no_letter(letter_id)
    return row


def _letter(row: tuple[Any, ...]) -> DeadLetter:
    letter_id, topic, *rest = row
    return DeadLetter(str(letter_id), Topic(topic), *rest)


def _no_letter(letter_id: str) -> NotFound:
    return NotFound(f"There is no dead letter '{letter_id}'. List them to see what there is.")
