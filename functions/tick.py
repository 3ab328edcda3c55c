"""The clock: what is due is stepped, the head of each line is looked at, and runs that nobody wants are stopped."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from slipway.admission import admit
from slipway.errors import SlipwayError
from slipway.functions.advance import advance
from slipway.ports import Ports

POSTPONE = 60.0
"""Seconds until an item whose step failed comes up again, so that it does not keep others from theirs."""

log = logging.getLogger(__name__)


def tick(ports: Ports, limit: int = 100, *, orphans: bool = True) -> int:
    """Steps up to `limit` due items, then looks at the head of every queue with waiting items. How many were due.

    `orphans`: every backend is asked what lives there, too. Once a minute is often enough for that."""
    due = ports.store.due(ports.clock.now(), limit)
    for item_id in due:
        if not _came_off(f"item {item_id}", partial(advance, item_id, ports)):
            _came_off(f"item {item_id}, to be put off", partial(_postpone, item_id, ports))
    for key in ports.store.crowded():
        _came_off(f"queue {key}", partial(admit, key, ports))
    if orphans:
        _stop_all_orphans(ports)
    return len(due)


def _stop_all_orphans(ports: Ports) -> None:
    queued = {queue.resource for queue in ports.store.queues()}
    # A queue may have been deleted while a start of its last item still stood still somewhere.
    for resource in sorted({*ports.resources, *queued}):
        # A backend that no queue uses need not be there at all.
        level = logging.WARNING if resource in queued else logging.DEBUG
        _came_off(f"runs on {resource}", partial(_stop_orphans, resource, ports), level)


def _stop_orphans(resource: str, ports: Ports) -> None:
    """A run may live although its item was given up: its starter stood still for longer than its lease, and died."""
    target = ports.targets(resource)
    for run in target.live():
        item = ports.store.item(run.item_id)
        # One that is not in this store may be another deployment's.
        if item is not None and (item.state.terminal or item.attempt != run.attempt):
            log.warning("run %s lives on, and nobody wants it: it is stopped", run.name)
            target.stop(run)


def _came_off(what: str, work: Callable[[], object], level: int = logging.WARNING) -> bool:
    """One that fails, even by a bug, keeps no other from its turn."""
    try:
        work()
    except SlipwayError as error:
        log.log(level, "%s: %s", what, error.message)
    except Exception:
        log.exception("%s failed in a way that nobody foresaw", what)
    else:
        return True
    return False


def _postpone(item_id: str, ports: Ports) -> None:
    item = ports.store.item(item_id)
    if item is not None and item.due is not None:
        ports.store.save(item.but(due=ports.clock.now() + POSTPONE))
