"""The clock: what is past its due time is stepped, and the head of each line that has one. Nothing else is read."""

from __future__ import annotations

import logging

from slipway.admission import admit
from slipway.errors import SlipwayError, Stale
from slipway.functions.advance import advance
from slipway.ports import Ports

POSTPONE = 60.0
"""Seconds until an item whose step failed comes up again, so that it does not keep others from theirs."""

log = logging.getLogger(__name__)


def tick(ports: Ports, limit: int = 100) -> int:
    """Steps up to `limit` due items, then looks at the head of every queue with waiting items. How many were due."""
    due = ports.store.due(ports.clock.now(), limit)
    for item_id in due:
        try:
            advance(item_id, ports)
        except SlipwayError as error:
            log.warning("item %s: %s", item_id, error.message)
            _postpone(item_id, ports)
    for key in ports.store.crowded():
        try:
            admit(key, ports)
        except SlipwayError as error:
            log.warning("queue %s: %s", key, error.message)
    return len(due)


def _postpone(item_id: str, ports: Ports) -> None:
    item = ports.store.item(item_id)
    if item is None or item.due is None:
        return
    try:
        ports.store.save(item.but(due=ports.clock.now() + POSTPONE))
    except Stale:
        return
