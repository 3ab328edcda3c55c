"""What holds at every moment of rest in a world where nothing goes wrong: whatever can go on has gone on by itself.

The clock repairs what was lost. So a wake-up that is never sent costs a minute and breaks no other promise; here, where
nothing is lost, it is found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tests.simulation.builders import Workshop
from tests.simulation.ledger import HOLDING, Ledger
from tests.simulation.targets import Vendor

from slipway.model import Desired, State


def whoever_can_start_has_started(ledger: Ledger, vendor: Vendor, workshop: Workshop) -> Iterator[str]:
    for key, line in ledger.lines.items():
        queue = ledger.queues.get(key)
        if not line or queue is None or queue.paused:
            continue
        head = ledger.items[min(line, key=lambda item_id: line[item_id].order)]
        free = not queue.capped or len(ledger.holders.get(key, ())) < queue.max_jobs
        if free and head.not_before == 0.0:
            yield f"{head.id} is first in line and could start, and nobody lets it in"


def whoever_has_an_image_stopped_waiting_for_it(ledger: Ledger, vendor: Vendor, workshop: Workshop) -> Iterator[str]:
    for item in ledger.items.values():
        if item.state is State.BUILDING and item.image in workshop.images:
            yield f"{item.id} waits for {item.image}, which is there"


def whoever_is_cancelled_before_it_starts_is_over(ledger: Ledger, vendor: Vendor, workshop: Workshop) -> Iterator[str]:
    for item in ledger.items.values():
        if item.desired is Desired.STOP and item.state in (State.PENDING, State.BUILDING):
            yield f"{item.id} was cancelled, and is {item.state}"


def whoever_has_ended_is_over(ledger: Ledger, vendor: Vendor, workshop: Workshop) -> Iterator[str]:
    for job in vendor.jobs:
        item = ledger.items[job.run.item_id]
        if not job.alive and job.forgotten_at is None and item.state in HOLDING and item.attempt == job.run.attempt:
            yield f"{item.id} is {item.state}, and {job.run.name} is {job.status.phase}"


AT_REST: tuple[Callable[[Ledger, Vendor, Workshop], Iterator[str]], ...] = (
    whoever_can_start_has_started,
    whoever_has_an_image_stopped_waiting_for_it,
    whoever_is_cancelled_before_it_starts_is_over,
    whoever_has_ended_is_over,
)
