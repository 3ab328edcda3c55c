"""What DynamoDB bills for a call, in request units, worked out from the sizes of records.

Reads come in steps of 4 KB, half a unit where they need not be consistent; writes in steps of 1 KB, of the larger of
the record before and after, twice that in a transaction. A record is written to an index as well where its entry there
changes: once for an entry that comes, goes or has another attribute, twice for one that moves to another key.
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/GSI.html#GSI.ThroughputConsiderations.Writes
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import ceil
from typing import Any

Record = Mapping[str, Any]
"""As DynamoDB takes and gives it: `{"name": {"S": "text"}}`."""

READ, WRITE = 4096, 1024
"""Bytes of one unit."""


def read(records: Iterable[Record], *, consistent: bool) -> float:
    """Of one GetItem, or of one Query: a Query's records are added up first. One that finds nothing is a unit too."""
    whole = max(1, ceil(sum(map(size, records)) / READ))
    return whole if consistent else whole / 2


def write(before: Record | None, after: Record | None, *, transaction: bool = False) -> float:
    """Of the table itself. A write whose condition does not hold is billed as well: of the record that is there."""
    largest = max(0 if each is None else size(each) for each in (before, after))
    return max(1, ceil(largest / WRITE)) * (2 if transaction else 1)


def index_writes(before: Record | None, after: Record | None, definition: Mapping[str, Any]) -> float:
    """Of all global secondary indexes of a table, as `create_table` takes their definitions."""
    table = [each["AttributeName"] for each in definition["KeySchema"]]
    return sum(_index_write(before, after, index, table) for index in definition["GlobalSecondaryIndexes"])


def size(record: Record) -> int:
    """Bytes of names and values."""
    return sum(len(name.encode()) + _size(value) for name, value in record.items())


def projected(record: Record | None, index: Mapping[str, Any], table: Iterable[str]) -> Record | None:
    """A record's entry in an index; None where it has none."""
    keys = [each["AttributeName"] for each in index["KeySchema"]]
    if record is None or not all(key in record for key in keys):
        return None
    wanted = {*keys, *table, *index["Projection"].get("NonKeyAttributes", ())}
    return {name: value for name, value in record.items() if name in wanted}


def _index_write(before: Record | None, after: Record | None, index: Mapping[str, Any], table: Iterable[str]) -> float:
    old, new = projected(before, index, table), projected(after, index, table)
    if old == new:
        return 0
    entries = [each for each in (old, new) if each is not None]
    keys = [each["AttributeName"] for each in index["KeySchema"]]
    moved = len(entries) == 2 and any(entries[0][key] != entries[1][key] for key in keys)
    units = [max(1, ceil(size(entry) / WRITE)) for entry in entries]
    return sum(units) if moved else max(units)


def _size(value: Mapping[str, Any]) -> int:
    ((kind, content),) = value.items()
    match kind:
        case "S":
            return len(content.encode())
        case "N":
            # Two digits to a byte, and one more.
            return len(content.strip("-").replace(".", "")) // 2 + 1
        case "SS":
            return sum(len(each.encode()) for each in content)
    raise AssertionError(f"the table has no attributes of this kind: {kind}")
