"""The Bus in dicts: for tests, the simulator and a first look. Forgotten when the process ends.

What is visible is decided by the Clock port alone, so a simulator may let hours pass in no time. Only the wait of
`receive` is real: a thread sleeps on a condition until someone sends.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count

from slipway.errors import NotFound
from slipway.model import DeadLetter, Message, Topic
from slipway.ports import Clock

_SHORTEST_WAIT = 0.005
"""Seconds. A virtual clock may say that a message is about to be visible for as long as it likes."""


@dataclass(slots=True)
class _Entry:
    topic: Topic
    body: str
    visible_at: float
    name: str
    """Message.id, which outlives a redrive."""
    received: int = 0
    turn: int = 0
    """Grows with every delivery and every return: a receipt names one turn."""


class MemoryBus:
    """A Bus (see `slipway.ports`), safe under threads of one process.

    `visibility`: seconds for which a delivery is hidden from others. After `max_receives` deliveries without an
    acknowledgement a message becomes a dead letter. Oldest visible first.
    """

    def __init__(self, clock: Clock, visibility: float = 60.0, max_receives: int = 5) -> None:
        self._clock = clock
        self._visibility = visibility
        self._max_receives = max_receives
        self._changed = threading.Condition()
        self._ids = count(1)
        self._entries: dict[int, _Entry] = {}
        self._order: dict[Topic, list[tuple[float, int]]] = {topic: [] for topic in Topic}
        """Heaps of (visible_at, id). A pair that no longer agrees with its entry is skipped."""
        self._dead: dict[str, DeadLetter] = {}
        self._names: dict[str, str] = {}
        """Of the dead letters: what their messages were called."""

    def send(self, topic: Topic, body: str, delay: float = 0.0) -> None:
        with self._changed:
            self._add(topic, body, delay)

    def receive(self, topics: Sequence[Topic], limit: int = 1, wait: float = 0.0) -> Sequence[Message]:
        give_up = time.monotonic() + wait
        with self._changed:
            while True:
                messages = self._take(topics, limit)
                left = give_up - time.monotonic()
                if messages or left <= 0:
                    return messages
                hidden = self._next_visible(topics) - self._clock.now()
                self._changed.wait(min(left, max(hidden, _SHORTEST_WAIT)))

    def ack(self, messages: Sequence[Message]) -> None:
        with self._changed:
            for message in messages:
                if self._current(message) is not None:
                    del self._entries[_id(message)]

    def retry(self, message: Message, reason: str, delay: float = 0.0) -> None:
        with self._changed:
            entry = self._current(message)
            if entry is None:
                return
            if entry.received >= self._max_receives:
                self._kill(_id(message), reason)
            else:
                self._hide(_id(message), entry, delay)
                self._changed.notify_all()

    def bury(self, message: Message, reason: str) -> None:
        with self._changed:
            if self._current(message) is not None:
                self._kill(_id(message), reason)

    def dead_letters(self, limit: int = 100) -> Sequence[DeadLetter]:
        """The latest first."""
        with self._changed:
            return list(reversed(self._dead.values()))[:limit]

    def dead_letter(self, letter_id: str) -> DeadLetter:
        with self._changed:
            letter = self._dead.get(letter_id)
        if letter is None:
            raise _no_letter(letter_id)
        return letter

    def redrive(self, letter_id: str) -> None:
        with self._changed:
            letter = self._bring(letter_id)
            self._add(letter.topic, letter.body, 0.0, self._names.pop(letter_id))

    def drop(self, letter_id: str) -> None:
        with self._changed:
            self._bring(letter_id)
            del self._names[letter_id]

    # --- with the lock held
    def _add(self, topic: Topic, body: str, delay: float, name: str | None = None) -> None:
        entry_id = next(self._ids)
        entry = self._entries[entry_id] = _Entry(topic, body, 0.0, name or str(entry_id))
        self._hide(entry_id, entry, delay)
        self._changed.notify_all()

    def _hide(self, entry_id: int, entry: _Entry, seconds: float) -> None:
        entry.turn += 1
        entry.visible_at = self._clock.now() + seconds
        heappush(self._order[entry.topic], (entry.visible_at, entry_id))

    def _take(self, topics: Sequence[Topic], limit: int) -> list[Message]:
        messages: list[Message] = []
        while len(messages) < limit:
            visible_at, topic = min((self._first(topic), topic) for topic in topics)
            if visible_at > self._clock.now():
                break
            _, entry_id = heappop(self._order[topic])
            entry = self._entries[entry_id]
            if entry.received >= self._max_receives:
                self._kill(entry_id, f"delivered {entry.received} times and never acknowledged")
                continue
            entry.received += 1
            self._hide(entry_id, entry, self._visibility)
            messages.append(Message(topic, entry.body, f"{entry_id}:{entry.turn}", entry.received, entry.name))
        return messages

    def _next_visible(self, topics: Sequence[Topic]) -> float:
        return min(self._first(topic) for topic in topics)

    def _first(self, topic: Topic) -> float:
        order = self._order[topic]
        while order:
            visible_at, entry_id = order[0]
            entry = self._entries.get(entry_id)
            if entry is not None and entry.visible_at == visible_at:
                return visible_at
            heappop(order)
        return float("inf")

    def _current(self, message: Message) -> _Entry | None:
        """The entry, while this delivery of it is the latest."""
        entry_id, _, turn = message.receipt.partition(":")
        entry = self._entries.get(int(entry_id))
        return entry if entry is not None and entry.turn == int(turn) else None

    def _kill(self, entry_id: int, reason: str) -> None:
        entry = self._entries.pop(entry_id)
        letter_id = str(entry_id)
        self._names[letter_id] = entry.name
        self._dead[letter_id] = DeadLetter(
            letter_id, entry.topic, entry.body, reason, entry.received, self._clock.now()
        )

    def _bring(self, letter_id: str) -> DeadLetter:
        try:
            return self._dead.pop(letter_id)
        except KeyError:
            raise _no_letter(letter_id) from None


def _id(message: Message) -> int:
    return int(message.receipt.partition(":")[0])


def _no_letter(letter_id: str) -> NotFound:
    return NotFound(f"There is no dead letter '{letter_id}'. List them to see what there is.")
