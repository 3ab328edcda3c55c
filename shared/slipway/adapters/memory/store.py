"""The Store in dicts: for tests, the simulator and a first look. Forgotten when the process ends.

Records are kept as their JSON text, so that a caller who changes a mapping in place cannot reach what is stored, and
every saved record has gone through the same serialisation as in a real store. Indexes are sorted lists.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from slipway.errors import NoSlot, Stale
from slipway.model import ApiKey, Build, Item, Queue, QueueKey, Slot, State
from slipway.records import (
    build_from_json,
    build_to_json,
    item_from_json,
    item_to_json,
    queue_from_json,
    queue_to_json,
)


@dataclass(frozen=True, slots=True)
class _Row:
    """An item as text, and the few of its fields that indexes are made of."""

    text: str
    version: int
    entity: str
    queue: QueueKey
    state: State
    line: tuple[int, str] | None
    """Its place in the line for a slot, while it waits."""
    due: tuple[float, str] | None
    wants: str | None
    """The image that is being built for it."""

    @property
    def item(self) -> Item:
        return item_from_json(self.text)


class MemoryStore:
    """A Store (see `slipway.ports`), safe under threads of one process."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._queues: dict[QueueKey, str] = {}
        self._items: dict[str, _Row] = {}
        self._ids: list[str] = []
        self._lines: dict[QueueKey, list[tuple[int, str]]] = {}
        self._due: list[tuple[float, str]] = []
        self._wanting: dict[str, list[str]] = {}
        self._idempotency: dict[tuple[str, str], str] = {}
        self._slots: dict[QueueKey, set[tuple[str, int]]] = {}
        self._builds: dict[str, str] = {}
        self._keys: dict[str, ApiKey] = {}

    # --- queues
    def queue(self, key: QueueKey) -> Queue | None:
        with self._lock:
            text = self._queues.get(key)
        return None if text is None else queue_from_json(text)

    def queues(self, entity: str | None = None) -> Sequence[Queue]:
        with self._lock:
            texts = [text for key, text in sorted(self._queues.items()) if entity in (None, key.entity)]
        return [queue_from_json(text) for text in texts]

    def save_queue(self, queue: Queue) -> Queue:
        after = replace(queue, version=queue.version + 1)
        text = queue_to_json(after)
        with self._lock:
            current = self.queue(queue.key)
            if (current.version if current else 0) != queue.version:
                raise Stale(current)
            self._queues[queue.key] = text
        return after

    def delete_queue(self, key: QueueKey) -> None:
        with self._lock:
            self._queues.pop(key, None)

    # --- items
    def create(self, item: Item) -> Item:
        after = item.but(version=1)
        row = _row(after)
        key = (item.submission.entity, item.submission.idempotency_key)
        with self._lock:
            if key[1] is not None and key in self._idempotency:
                return self._items[self._idempotency[key[0], key[1]]].item
            if item.id in self._items:
                raise Stale(self._items[item.id].item)
            if key[1] is not None:
                self._idempotency[key[0], key[1]] = item.id
            insort(self._ids, item.id)
            self._put(item.id, None, row)
        return after

    def item(self, item_id: str) -> Item | None:
        with self._lock:
            row = self._items.get(item_id)
        return None if row is None else row.item

    def known(self, entity: str, idempotency_key: str | None) -> Item | None:
        with self._lock:
            item_id = None if idempotency_key is None else self._idempotency.get((entity, idempotency_key))
            return None if item_id is None else self._items[item_id].item

    def save(self, item: Item, slot: Slot = Slot.KEEP) -> Item:
        after = item.but(version=item.version + 1)
        row = _row(after)
        with self._lock:
            before = self._items.get(item.id)
            if before is None or before.version != item.version:
                raise Stale(None if before is None else before.item)
            if slot is Slot.ACQUIRE:
                self._acquire(item)
            elif slot is Slot.RELEASE:
                self._release(item)
            self._put(item.id, before, row)
        return after

    def items(
        self,
        entity: str | None = None,
        queue: str | None = None,
        states: Iterable[State] = (),
        limit: int = 100,
        before: str | None = None,
    ) -> Sequence[Item]:
        wanted = frozenset(states)
        found: list[_Row] = []
        with self._lock:
            place = len(self._ids) if before is None else bisect_left(self._ids, before)
            while place > 0 and len(found) < limit:
                place -= 1
                row = self._items[self._ids[place]]
                if (
                    entity in (None, row.entity)
                    and queue in (None, row.queue.name)
                    and (not wanted or row.state in wanted)
                ):
                    found.append(row)
        return [row.item for row in found]

    def head(self, key: QueueKey) -> Item | None:
        with self._lock:
            line = self._lines.get(key)
            row = self._items[line[0][1]] if line else None
        return None if row is None else row.item

    def ahead(self, item: Item, limit: int = 1000) -> int:
        with self._lock:
            return min(limit, bisect_left(self._lines.get(item.queue, []), (item.priority, item.id)))

    def crowded(self) -> Sequence[QueueKey]:
        with self._lock:
            return sorted(self._lines)

    def due(self, now: float, limit: int = 100) -> Sequence[str]:
        with self._lock:
            end = bisect_right(self._due, now, key=lambda entry: entry[0])
            return [item_id for _, item_id in self._due[: min(limit, end)]]

    def wanting(self, image: str) -> Sequence[str]:
        with self._lock:
            return list(self._wanting.get(image, ()))

    def slots(self, key: QueueKey) -> frozenset[str]:
        with self._lock:
            return frozenset(f"{item_id}.{attempt}" for item_id, attempt in self._slots.get(key, ()))

    def held(self) -> Sequence[tuple[QueueKey, str]]:
        with self._lock:
            return sorted((key, f"{holder}.{n}") for key, taken in self._slots.items() for holder, n in taken)

    def free(self, key: QueueKey, holder: str) -> None:
        with self._lock:
            taken = self._slots.get(key, set())
            taken.difference_update({each for each in taken if f"{each[0]}.{each[1]}" == holder})

    # --- builds
    def build(self, image: str) -> Build | None:
        with self._lock:
            text = self._builds.get(image)
        return None if text is None else build_from_json(text)

    def save_build(self, build: Build) -> Build:
        after = replace(build, version=build.version + 1)
        with self._lock:
            current = self.build(build.image)
            if (current.version if current else 0) != build.version:
                raise Stale(current)
            self._builds[build.image] = build_to_json(after)
        return after

    def builds(self, limit: int = 100) -> Sequence[Build]:
        with self._lock:
            texts = list(self._builds.values())[::-1][:limit]
        return [build_from_json(text) for text in texts]

    # --- keys
    def key(self, digest: str) -> ApiKey | None:
        with self._lock:
            return self._keys.get(digest)

    def keys(self) -> Sequence[ApiKey]:
        with self._lock:
            return sorted(self._keys.values(), key=lambda key: (key.created_at, key.digest))

    def save_key(self, key: ApiKey) -> None:
        with self._lock:
            self._keys[key.digest] = key

    def delete_key(self, digest: str) -> None:
        with self._lock:
            self._keys.pop(digest, None)

    # --- with the lock held
    def _acquire(self, item: Item) -> None:
        queue = self.queue(item.queue)
        if queue is None or not queue.capped:
            return
        taken = self._slots.setdefault(item.queue, set())
        if (item.id, item.attempt) in taken:
            return
        if len(taken) >= queue.max_jobs:
            raise NoSlot
        taken.add((item.id, item.attempt))

    def _release(self, item: Item) -> None:
        taken = self._slots.get(item.queue, set())
        taken.difference_update({(holder, n) for holder, n in taken if holder == item.id and n <= item.attempt})

    def _put(self, item_id: str, before: _Row | None, after: _Row) -> None:
        if before is not None:
            if before.line is not None:
                line = self._lines[before.queue]
                del line[bisect_left(line, before.line)]
                if not line:
                    del self._lines[before.queue]
            if before.due is not None:
                del self._due[bisect_left(self._due, before.due)]
            if before.wants is not None:
                self._wanting[before.wants].remove(item_id)
                if not self._wanting[before.wants]:
                    del self._wanting[before.wants]
        if after.line is not None:
            insort(self._lines.setdefault(after.queue, []), after.line)
        if after.due is not None:
            insort(self._due, after.due)
        if after.wants is not None:
            insort(self._wanting.setdefault(after.wants, []), item_id)
        self._items[item_id] = after


def _row(item: Item) -> _Row:
    return _Row(
        text=item_to_json(item),
        version=item.version,
        entity=item.submission.entity,
        queue=item.queue,
        state=item.state,
        line=(item.priority, item.id) if item.waiting else None,
        due=None if item.due is None else (item.due, item.id),
        wants=item.image if item.state is State.BUILDING else None,
    )
