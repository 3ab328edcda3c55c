"""What happens to items, one log line per change: told by the store that sees each of them saved, so that none is
missing, whoever made it: a worker, a watcher, the clock or a request.
"""

from __future__ import annotations

import logging
import time
from typing import Any, cast

from slipway.model import Item, Moment, Slot
from slipway.ports import Store

REMEMBERED = 10_000
"""Items on their way whose last line is remembered."""

log = logging.getLogger("slipway.items")


def journaled(store: Store) -> Store:
    """The same store, which also logs each line that an item's timeline gains."""
    return cast(Store, _JournaledStore(store))


class _JournaledStore:
    """Delegates everything; `create` and `save` are followed by a look at the timeline."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._since = time.time()
        """Older lines were told by the process that wrote them."""
        self._told: dict[str, Moment] = {}
        """The last line told of each item that is not over."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def create(self, item: Item) -> Item:
        created = self._store.create(item)
        if created.id == item.id:
            self._tell(created, "submitted")
        return created

    def save(self, item: Item, slot: Slot = Slot.KEEP) -> Item:
        saved = self._store.save(item, slot)
        if item.timeline and item.timeline[-1].at >= self._since and self._told.get(item.id) != item.timeline[-1]:
            # More than one line at once: a preemption passes through `preempted` to `pending`.
            before = item.timeline[-2].state if len(item.timeline) > 1 else item.state
            arrow = f"{before} → {item.state}" if before is not item.state else str(item.state)
            self._tell(saved, f"{arrow}: {item.reason}" if item.reason else arrow)
        return saved

    def _tell(self, item: Item, message: str) -> None:
        if item.state.terminal:
            self._told.pop(item.id, None)
        elif item.timeline:
            if len(self._told) >= REMEMBERED:
                self._told.clear()  # items that ended in other processes; at worst a line is told twice
            self._told[item.id] = item.timeline[-1]
        facts = {"item": item.id, "queue": str(item.queue), "state": str(item.state), "reason": item.reason}
        level = logging.WARNING if item.state == "failed" else logging.INFO
        log.log(level, "%s", message, extra={"facts": facts})
