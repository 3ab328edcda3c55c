"""The Store on DynamoDB: one table (see `store_table`), every save one call, no question a scan.

A save is guarded by the version, and a failed condition brings the record as it is now. A slot is taken or given back
in the same transaction as the item's save; slots lie in a string set per queue.

What it holds: a set of slots is a record of at most 400 KB, about 15,000 holders. A partition takes about 1,000 write
units a second, and what is written in a transaction costs two. All slots, the line, and what is due are a partition
each, so a deployment starts some hundred items a second before DynamoDB throttles, which is a Refused that passes.
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html

Items, queues, slots, builds and keys are read as they are; lists and the line come from indexes, which follow after a
moment (see `store_indexes`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING

from slipway.adapters.aws.store_calls import Action, Table
from slipway.adapters.aws.store_indexes import Indexes
from slipway.adapters.aws.store_records import CHANGING, ItemRecords
from slipway.adapters.aws.store_slots import Slots, capped
from slipway.adapters.aws.store_table import (
    BUILDS,
    EXPIRES,
    Attributes,
    api_key_key,
    build_key,
    idempotency_record_key,
    item_key,
    number,
    queue_record_key,
    text,
)
from slipway.errors import Invalid, NoSlot, Problem, Stale
from slipway.model import ApiKey, Build, Item, Queue, QueueKey, Slot, State
from slipway.records import build_from_json, build_to_json, key_from_json, key_to_json, queue_from_json, queue_to_json

if TYPE_CHECKING:
    from slipway.adapters.aws.clients import Clients
    from slipway.ports import Blobs

KEEP = 90 * 86400.0
"""Seconds after its end until an item is deleted; DynamoDB takes up to some days more."""
LARGEST_QUEUE = 350 * 1024
"""Bytes of a queue's text."""


class DynamoStore:
    """A Store (see `slipway.ports`), safe for any number of processes and threads.

    `blobs` takes what is too large for a record. Items are deleted `keep` seconds after their end by the table's time
    to live; an idempotency key is known for as long after the submission.
    """

    def __init__(self, clients: Clients, table: str, blobs: Blobs, *, keep: float = KEEP) -> None:
        self._table = Table(clients, table)
        self._indexes = Indexes(self._table)
        self._slots = Slots(self._table)
        self._records = ItemRecords(blobs, keep)
        self._keep = keep

    # --- queues
    def queue(self, key: QueueKey) -> Queue | None:
        record = self._table.read("read a queue", queue_record_key(key))
        return None if record is None else _queue(record["body"]["S"])

    def queues(self, entity: str | None = None) -> Sequence[Queue]:
        records = self._table.query("list queues", "pk = :queues", {":queues": text("queues")})
        if entity is not None:
            where, of = "pk = :queues AND begins_with(sk, :entity)", queue_record_key(QueueKey(entity, ""))["sk"]
            records = self._table.query("list queues", where, {":queues": text("queues"), ":entity": of})
        return sorted((queue_from_json(record["body"]["S"]) for record in records), key=lambda queue: queue.key)

    def save_queue(self, queue: Queue) -> Queue:
        """Raises Invalid, too, for one that no record can hold."""
        after = replace(queue, version=queue.version + 1)
        body = queue_to_json(after)
        if len(body.encode()) > LARGEST_QUEUE:
            fix = "Move what is large out of its config."
            raise Invalid(Problem("config", f"makes the queue larger than {LARGEST_QUEUE // 1024} KB", fix=fix))
        failed = self._table.write(
            "save a queue",
            self._table.save(queue_record_key(queue.key), queue.version, {"body": text(body)}),
            self._slots.cap(queue),
        )
        if failed:
            current = failed[0]
            raise Stale(None if current is None else queue_from_json(current["body"]["S"]))
        return after

    def delete_queue(self, key: QueueKey) -> None:
        self._table.write("delete a queue", self._table.delete(queue_record_key(key)), self._slots.uncap(key))

    # --- items
    def create(self, item: Item) -> Item:
        after = item.but(version=1)
        token, saving = self._saving(after, self._records.created(after))
        key = item.submission.idempotency_key
        if key is None:
            return self._saved(after, token, self._table.write("create an item", saving))
        gone: str | None = None
        while True:
            failed = self._table.write("create an item", saving, self._remember(after, key, gone))
            if 1 not in failed:
                return self._saved(after, token, failed)
            # The key's item, unless that has expired before its key: then the key is free for this one.
            gone = None if failed[1] is None else failed[1]["item_id"]["S"]
            first = None if gone is None else self.item(gone)
            if first is not None:
                return first

    def item(self, item_id: str) -> Item | None:
        record = self._table.read("read an item", item_key(item_id))
        return None if record is None else self._records.item(record)

    def known(self, entity: str, idempotency_key: str | None) -> Item | None:
        if idempotency_key is None:
            return None
        record = self._table.read("look up an idempotency key", idempotency_record_key(entity, idempotency_key))
        return None if record is None else self.item(record["item_id"]["S"])

    def save(self, item: Item, slot: Slot = Slot.KEEP) -> Item:
        after = item.but(version=item.version + 1)
        token, saving = self._saving(after, self._records.changed(after))
        if slot is Slot.KEEP:
            failed = self._table.write("save an item", saving)
        elif slot is Slot.RELEASE:
            failed = self._table.write("save an item and give back its slot", saving, self._slots.release(item))
        else:
            failed = self._table.write("save an item and take a slot", saving, self._slots.acquire(item))
            if 0 not in failed and 1 in failed:
                if capped(failed[1]):
                    raise NoSlot
                failed = self._table.write("save an item", saving)
        return self._saved(after, token, failed)

    def items(
        self,
        entity: str | None = None,
        queue: str | None = None,
        states: Iterable[State] = (),
        limit: int = 100,
        before: str | None = None,
    ) -> Sequence[Item]:
        wanted = frozenset(states)
        ids = self._indexes.listed(entity, queue, wanted, limit, before)
        found: list[Item] = []
        while missing := list(islice(ids, limit - len(found))):
            found += [item for item in self._load(missing) if not wanted or item.state in wanted]
        return found

    def head(self, key: QueueKey) -> Item | None:
        """Never one that has left the line. For a moment, one that has just joined may be overlooked: its own step
        then finds nobody before it, and the tick looks at every line again."""
        for priority, item_id in self._indexes.line(key):
            item = self.item(item_id)
            if item is not None and item.waiting and item.priority == priority:
                return item
        return None

    def ahead(self, item: Item, limit: int = 1000) -> int:
        return self._indexes.ahead(item, limit)

    def crowded(self) -> Sequence[QueueKey]:
        return list(self._indexes.crowded())

    def due(self, now: float, limit: int = 100) -> Sequence[str]:
        return self._indexes.due(now, limit)

    def wanting(self, image: str) -> Sequence[str]:
        return self._indexes.building(image)

    # --- slots
    def slots(self, key: QueueKey) -> frozenset[str]:
        return self._slots.holders(key)

    def held(self) -> Sequence[tuple[QueueKey, str]]:
        return sorted(self._slots.held())

    def free(self, key: QueueKey, holder: str) -> None:
        self._slots.free(key, holder)

    # --- builds
    def build(self, image: str) -> Build | None:
        record = self._table.read("read a build", build_key(image))
        return None if record is None else build_from_json(record["body"]["S"])

    def save_build(self, build: Build) -> Build:
        after = replace(build, version=build.version + 1)
        token = _token()
        attributes: Attributes = {"body": text(build_to_json(after)), "saved_by": text(token)}
        if build.version == 0:
            attributes |= {"listing": text(BUILDS), "listing_id": text(f"{time.time_ns():020d}")}
        failed = self._table.write("save a build", self._table.save(build_key(build.image), build.version, attributes))
        if _went_through(failed, token):
            return after
        current = failed[0]
        raise Stale(None if current is None else build_from_json(current["body"]["S"]))

    def builds(self, limit: int = 100) -> Sequence[Build]:
        keys = self._indexes.builds(limit)
        found = {record["pk"]["S"]: record for record in self._table.read_all("list builds", keys)}
        return [build_from_json(found[key["pk"]["S"]]["body"]["S"]) for key in keys if key["pk"]["S"] in found]

    # --- keys
    def key(self, digest: str) -> ApiKey | None:
        record = self._table.read("look up an API key", api_key_key(digest))
        return None if record is None else key_from_json(record["body"]["S"])

    def keys(self) -> Sequence[ApiKey]:
        """The oldest first."""
        records = self._table.query("list API keys", "pk = :keys", {":keys": text("api-keys")})
        keys = [key_from_json(record["body"]["S"]) for record in records]
        return sorted(keys, key=lambda key: (key.created_at, key.digest))

    def save_key(self, key: ApiKey) -> None:
        self._table.put("save an API key", api_key_key(key.digest) | {"body": text(key_to_json(key))})

    def delete_key(self, digest: str) -> None:
        self._table.write("delete an API key", self._table.delete(api_key_key(digest)))

    # --- parts of a write
    def _saving(self, after: Item, attributes: Attributes) -> tuple[str, Action]:
        """The write, and a token that tells it from anybody else's of the same version."""
        token = _token()
        marked = attributes | {"saved_by": text(token)}
        known = CHANGING if after.version > 1 else ()
        return token, self._table.save(item_key(after.id), after.version - 1, marked, known)

    def _saved(self, after: Item, token: str, failed: Mapping[int, Attributes | None]) -> Item:
        """Raises Stale unless it was written."""
        if _went_through(failed, token):
            return after
        current = failed[0]
        raise Stale(None if current is None else self._records.item(current))

    def _remember(self, item: Item, key: str, gone: str | None) -> Action:
        """`gone` is an item that had the key, and is no more."""
        values = {":id": text(item.id), ":expires": number(round(item.created_at + self._keep))}
        free = "attribute_not_exists(pk)"
        if gone is not None:
            free, values[":gone"] = "item_id = :gone", text(gone)
        where = idempotency_record_key(item.submission.entity, key)
        return self._table.update(where, f"SET item_id = :id, {EXPIRES} = :expires", values, free)

    def _load(self, ids: Sequence[str]) -> list[Item]:
        """In that order, those that are there, as they are now."""
        records = self._table.read_all("read items", [item_key(item_id) for item_id in ids])
        found = {item.id: item for item in map(self._records.item, records)}
        return [found[item_id] for item_id in ids if item_id in found]


# Every step asks for its queue, which hardly ever changes. The text is the key, so nothing here can be out of date.
_queue = lru_cache(maxsize=64)(queue_from_json)


def _token() -> str:
    return os.urandom(8).hex()


def _went_through(failed: Mapping[int, Attributes | None], token: str) -> bool:
    """boto3 repeats a call whose answer was lost. The repetition then fails on what the first one wrote, which has our
    token: nobody else won that race."""
    if 0 not in failed:
        return True
    current = failed[0]
    return current is not None and current.get("saved_by") == text(token)
