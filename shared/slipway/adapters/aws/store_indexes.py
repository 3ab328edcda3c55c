"""What the Store asks its indexes: ids of items, in an order.

An index follows the table after a moment, usually under a second: it may still name an item that has left it (a ghost),
and not yet name one that came. So whoever needs to be sure reads the item; what is not there yet is found by the next
look, the tick's at the latest.
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/GSI.html
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import merge
from itertools import groupby, islice
from typing import TYPE_CHECKING

from slipway.adapters.aws.store_table import (
    AFTER,
    BUILDS,
    OPEN,
    SEPARATOR,
    Attributes,
    group_of,
    item_id_of,
    joined,
    place_in_line,
    place_of_due,
    text,
)
from slipway.model import TERMINAL, Item, QueueKey, State

if TYPE_CHECKING:
    from slipway.adapters.aws.store_calls import Table

FIRST_FEW = 5
"""Of a line, that are read at once: the first is the one, unless it is a ghost."""
FILTERED = 1000
"""Entries that are read at once where only some of them are wanted: about 100 KB."""
OPEN_STATES = frozenset(State) - TERMINAL


class Indexes:
    def __init__(self, table: Table) -> None:
        self._table = table

    def line(self, key: QueueKey) -> Iterator[tuple[int, str]]:
        """Priority and id of the items in line, the first first."""
        values = {":line": text("line"), ":queue": text(joined(*key, ""))}
        where = "line = :line AND begins_with(line_place, :queue)"
        for entry in self._table.query("look at a line", where, values, index="line", page=FIRST_FEW):
            priority, item_id = entry["line_place"]["S"].split(SEPARATOR)[2:4]
            yield int(priority), item_id

    def ahead(self, item: Item, limit: int) -> int:
        """How many are in line before it, counted up to `limit`."""
        values = {
            ":line": text("line"),
            ":first": text(joined(*item.queue, "")),
            ":place": text(place_in_line(item).removesuffix(SEPARATOR)),
        }
        where = "line = :line AND line_place BETWEEN :first AND :place"
        return self._table.count("count a line", where, values, index="line", limit=limit)

    def crowded(self) -> Iterator[QueueKey]:
        """Queues with a line, by entity and name: one call for each, however long its line, and one for the end."""
        last = "\0"
        while True:
            values = {":line": text("line"), ":last": text(last)}
            where = "line = :line AND line_place > :last"
            entry = next(self._table.query("look for lines", where, values, index="line", page=1), None)
            if entry is None:
                return
            key = QueueKey(*entry["line_place"]["S"].split(SEPARATOR)[:2])
            yield key
            last = joined(*key) + AFTER

    def due(self, now: float, limit: int) -> list[str]:
        """The longest overdue first. A ghost among them is looked at once more, which does no harm."""
        values = {":due": text("due"), ":now": text(place_of_due(now) + AFTER)}
        where = "due = :due AND due_place < :now"
        found = self._table.query("look for what is due", where, values, index="due", page=limit)
        return [item_id_of(entry) for entry in islice(found, limit)]

    def building(self, image: str) -> list[str]:
        if not image:
            return []
        found = self._table.query("look for a build's items", "building = :i", {":i": text(image)}, index="building")
        return sorted(item_id_of(entry) for entry in found)

    def listed(
        self, entity: str | None, queue: str | None, states: frozenset[State], limit: int, before: str | None
    ) -> Iterator[str]:
        """Newest first, as far as it is asked for. `limit` is how many are probably wanted."""
        groups = sorted({group_of(state) for state in states or State})
        pages = [self._group(group, entity, queue, states, limit, before) for group in groups]
        # One that changes its group meanwhile may be found in both.
        return (item_id for item_id, _ in groupby(merge(*pages, reverse=True)))

    def builds(self, limit: int) -> list[Attributes]:
        """Keys, the latest first."""
        found = self._table.query(
            *("list builds", "listing = :builds", {":builds": text(BUILDS)}),
            index="all",
            newest_first=True,
            page=limit,
        )
        return [{"pk": entry["pk"], "sk": entry["sk"]} for entry in islice(found, limit)]

    def _group(
        self,
        group: str,
        entity: str | None,
        queue: str | None,
        states: Sequence[State] | frozenset[State],
        limit: int,
        before: str | None,
    ) -> Iterator[str]:
        if before == "":
            return
        index, partition = ("all", "listing") if entity is None else ("entity", "entity_listing")
        values = {":group": text(group if entity is None else joined(entity, group))}
        where, filters = f"{partition} = :group", []
        if before is not None:
            where += " AND listing_id < :before"
            values[":before"] = text(before)
        if queue is not None:
            filters.append("in_queue = :queue")
            values[":queue"] = text(queue)
        some = sorted(OPEN_STATES.intersection(states))
        if group == OPEN and some and len(some) < len(OPEN_STATES):
            named = {f":state{n}": text(state) for n, state in enumerate(some)}
            filters.append(f"in_state IN ({', '.join(named)})")
            values |= named
        found = self._table.query(
            *("list items", where, values),
            index=index,
            only=" AND ".join(filters) or None,
            newest_first=True,
            page=max(limit, FILTERED) if filters else limit,
        )
        for entry in found:
            yield item_id_of(entry)
