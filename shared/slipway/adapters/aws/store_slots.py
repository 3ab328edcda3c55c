"""The slots of a queue, as a record apart from the queue: a string set of holders, and the cap.

Taking and giving back are actions of the transaction that saves the item. The cap is copied here whenever the queue is
saved, so that one condition decides. Holders stay until they are given back, whatever becomes of the queue.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from slipway.adapters.aws.store_table import Attributes, number, queue_of, slots_key, text

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef

    from slipway.adapters.aws.store_calls import Action, Table
    from slipway.model import Item, Queue, QueueKey


class Slots:
    def __init__(self, table: Table) -> None:
        self._table = table

    def cap(self, queue: Queue) -> Action:
        if not queue.capped:
            return self.uncap(queue.key)
        return self._table.update(slots_key(queue.key), "SET max_jobs = :n", {":n": number(queue.max_jobs)})

    def uncap(self, key: QueueKey) -> Action:
        return self._table.update(slots_key(key), "REMOVE max_jobs")

    def acquire(self, item: Item) -> Action:
        values = {":holders": _set(item.slot), ":holder": text(item.slot), ":none": number(0)}
        return self._table.update(slots_key(item.queue), "ADD holders :holders", values, _ROOM)

    def release(self, item: Item) -> Action:
        """Of every attempt up to this one."""
        slots = (f"{item.id}.{attempt}" for attempt in range(1, item.attempt + 1))
        return self._table.update(slots_key(item.queue), "DELETE holders :holders", {":holders": _set(*slots)})

    def holders(self, key: QueueKey) -> frozenset[str]:
        record = self._table.read("read the slots of a queue", slots_key(key))
        return frozenset() if record is None else _holders(record)

    def held(self) -> Iterator[tuple[QueueKey, str]]:
        for record in self._table.query("list slots", "pk = :slots", {":slots": text("slots")}):
            for holder in _holders(record):
                yield queue_of(record), holder

    def free(self, key: QueueKey, holder: str) -> None:
        values = {":holders": _set(holder), ":holder": text(holder)}
        action = self._table.update(slots_key(key), "DELETE holders :holders", values, "contains(holders, :holder)")
        # Where the condition does not hold, there is nothing to be freed.
        self._table.write("free a slot", action)


def capped(record: Attributes | None) -> bool:
    """Of the record that had no room: whether a cap was why. Without a cap, or a queue, nobody needs a slot."""
    return record is not None and "max_jobs" in record


_ROOM = (
    "contains(holders, :holder) OR (attribute_exists(max_jobs) AND ("
    "(attribute_not_exists(holders) AND max_jobs > :none)"
    " OR (attribute_exists(holders) AND size(holders) < max_jobs)))"
)
"""It has its slot already, or there is a cap and room below it. DynamoDB has no empty sets."""


def _holders(record: Attributes) -> frozenset[str]:
    return frozenset(record["holders"]["SS"]) if "holders" in record else frozenset()


def _set(*members: str) -> AttributeValueTypeDef:
    return {"SS": members}
