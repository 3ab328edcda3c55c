"""What is true, written down as it happens, and the promises that can be checked at the very call that breaks them.

The ledger believes neither the store nor the code that it watches: it keeps items, slots, lines and claims in books of
its own. A broken promise ends the schedule where it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.simulation.builders import BuildJob, Workshop
from tests.simulation.scheduler import Scheduler, Worker
from tests.simulation.targets import Job, Vendor
from tests.simulation.truth import told_as_it_is

from slipway.adapters.memory.store import MemoryStore
from slipway.machine import TRANSITIONS
from slipway.model import Desired, Item, Queue, QueueKey, Slot, State

HOLDING = (State.STARTING, State.RUNNING)


@dataclass
class Place:
    """Where an item stands in a line, and since which event of the world."""

    order: tuple[int, str]
    since: int


@dataclass
class Ledger:
    scheduler: Scheduler
    items: dict[str, Item] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    """Items by when they were created."""
    claims: set[tuple[str, int]] = field(default_factory=set)
    holders: dict[QueueKey, set[tuple[str, int]]] = field(default_factory=dict)
    lines: dict[QueueKey, dict[str, Place]] = field(default_factory=dict)
    held_back: dict[tuple[str, QueueKey], int] = field(default_factory=dict)
    """Queues that are `paused` or `draining`, and since which event."""
    jobs: dict[tuple[str, int], list[Job]] = field(default_factory=dict)
    """By item and attempt."""
    queues: dict[QueueKey, Queue] = field(default_factory=dict)
    closed: set[QueueKey] = field(default_factory=set)
    """Queues that took no submissions at some time: they were deleted, or draining."""
    events: int = 0

    # --- items
    def created(self, item: Item, seen: Mapping[object, int]) -> None:
        """`seen`: as in `saved`."""
        if item.id in self.items:
            return
        if self._was("draining", item.queue, seen):
            self._broken(f"{item.id} was taken in while its queue was draining")
        if item.state is not State.PENDING:
            self._broken(f"{item.id} began as {item.state}")
        self._write_down(item)
        self.order.append(item.id)

    def saved(self, after: Item, slot: Slot, queue: Queue | None, seen: Mapping[object, int]) -> None:
        """`seen`: when whoever saves last asked about which line and queue."""
        before = self.items[after.id]
        for check in (over_for_good, saved_over_what_was_loaded, wish_kept, along_the_machine, attempts_in_order):
            if (broken := check(before, after)) is not None:
                self._broken(f"{after.id}: {broken}")
        if (untrue := told_as_it_is(before, after, self.jobs.get((before.id, before.attempt), ()))) is not None:
            self._broken(f"{after.id}: {untrue}")
        if after.state is State.STARTING and before.state is not State.STARTING:
            self._admitted(before, after, slot, queue, seen)
        if after.state not in HOLDING:
            held = self.holders.get(after.queue, set())
            held.difference_update({(item, n) for item, n in held if item == after.id})
        self._write_down(after)

    def _admitted(self, before: Item, after: Item, slot: Slot, queue: Queue | None, seen: Mapping[object, int]) -> None:
        if after.desired is not Desired.RUN:
            self._broken(f"{after.id} was started although it is to {after.desired}")
        self.claims.add((after.id, after.attempt))
        if self._was("paused", after.queue, seen):
            self._broken(f"{after.id} was started while its queue was paused")
        if slot is not Slot.ACQUIRE or queue is None or not queue.capped:
            return
        held = self.holders.setdefault(after.queue, set())
        held.add((after.id, after.attempt))
        if len(held) > queue.max_jobs:
            self._broken(f"{len(held)} of {queue.max_jobs} slots of {queue.key} are in use")
        asked = seen.get(("head", after.queue), self.events)
        mine = (before.priority, before.id)
        for item_id, place in self.lines.get(after.queue, {}).items():
            if place.order < mine and place.since < asked:
                self._broken(f"{after.id} was let in before {item_id}, which stood before it in line")

    def _was(self, word: str, key: QueueKey, seen: Mapping[object, int]) -> bool:
        """Whether the queue was that already when it was last asked about."""
        return self.held_back.get((word, key), self.events) < seen.get(("queue", key), self.events)

    def _write_down(self, item: Item) -> None:
        self.events += 1
        self.items[item.id] = item
        line = self.lines.setdefault(item.queue, {})
        if not item.waiting:
            line.pop(item.id, None)
            return
        order = (item.priority, item.id)
        if item.id not in line or line[item.id].order != order:
            line[item.id] = Place(order, self.events)

    # --- queues
    def queue_saved(self, queue: Queue) -> None:
        self.events += 1
        self.queues[queue.key] = queue
        if queue.draining:
            self.closed.add(queue.key)
        for word, held in (("paused", queue.paused), ("draining", queue.draining)):
            if held:
                self.held_back.setdefault((word, queue.key), self.events)
            else:
                self.held_back.pop((word, queue.key), None)

    def queue_deleted(self, key: QueueKey) -> None:
        self.events += 1
        self.closed.add(key)
        self.queues.pop(key, None)
        for word in ("paused", "draining"):
            self.held_back.pop((word, key), None)

    # --- jobs and builds
    def job_created(self, job: Job, vendor: Vendor) -> None:
        name = job.run.name
        if (job.run.item_id, job.run.attempt) not in self.claims:
            self._broken(f"{name} was started before it was claimed")
        same = self.jobs.setdefault((job.run.item_id, job.run.attempt), [])
        same.append(job)
        if sum(other.alive for other in same) > 1:
            self._broken(f"two jobs of {name} are alive at once")
        if sum(other.forgotten_at is None for other in same) > 1:
            self._broken(f"{name} was started again, although the backend still knows its first job")
        if vendor.habits.takes_names and len(same) > 1:
            self._broken(f"{name} was started {len(same)} times, on a backend that takes our names")

    def build_created(self, build: BuildJob, workshop: Workshop) -> None:
        alive = [each for each in workshop.builds if each.image == build.image and each.phase.alive]
        if alive:
            self._broken(f"{build.image} is built twice at once")
        worker = self.scheduler.current
        if build.image in workshop.images and (worker is None or build.image not in worker.misled):
            self._broken(f"{build.image} exists, and is built again")

    def _broken(self, what: str) -> None:
        self.scheduler.break_promise(what)


def over_for_good(before: Item, after: Item) -> str | None:
    return f"it was {before.state}, and was decided again" if before.state.terminal else None


def saved_over_what_was_loaded(before: Item, after: Item) -> str | None:
    if after.version == before.version + 1:
        return None
    return f"version {after.version - 1} was loaded, and saved over version {before.version}"


def wish_kept(before: Item, after: Item) -> str | None:
    forgot = before.desired is Desired.STOP and after.desired is not Desired.STOP
    return "someone cancelled it, and the wish was forgotten" if forgot else None


def along_the_machine(before: Item, after: Item) -> str | None:
    a, b = before.state, after.state
    if a is b or b in TRANSITIONS[a] or (State.PREEMPTED in TRANSITIONS[a] and b is State.PENDING):
        return None
    return f"it went from {a} to {b}"


def attempts_in_order(before: Item, after: Item) -> str | None:
    grown = after.attempt - before.attempt
    if grown == 0 or (grown == 1 and before.state in HOLDING and after.state is State.PENDING):
        return None
    return f"it was at attempt {before.attempt} in {before.state}, and is at {after.attempt} in {after.state}"


class WatchedStore(MemoryStore):
    """The shipped store in memory; what takes effect in it is written down."""

    def __init__(self, ledger: Ledger, current: Callable[[], Worker | None]) -> None:
        super().__init__()
        self._ledger = ledger
        self._current = current

    def create(self, item: Item) -> Item:
        worker = self._current()
        seen = dict(worker.heads) if worker is not None else {}
        after = super().create(item)
        self._ledger.created(after, seen)
        return after

    def save(self, item: Item, slot: Slot = Slot.KEEP) -> Item:
        worker = self._current()
        # Before the save: a store that looks at the queue within it asks for itself.
        seen = dict(worker.heads) if worker is not None else {}
        after = super().save(item, slot)
        queue = super().queue(item.queue) if slot is Slot.ACQUIRE else None
        self._ledger.saved(after, slot, queue, seen)
        return after

    def head(self, key: QueueKey) -> Item | None:
        self._asked("head", key)
        return super().head(key)

    def queue(self, key: QueueKey) -> Queue | None:
        self._asked("queue", key)
        return super().queue(key)

    def save_queue(self, queue: Queue) -> Queue:
        after = super().save_queue(queue)
        self._ledger.queue_saved(after)
        return after

    def delete_queue(self, key: QueueKey) -> None:
        super().delete_queue(key)
        self._ledger.queue_deleted(key)

    def texts(self) -> list[str]:
        """Everything that is stored, as it is stored."""
        return [*(row.text for row in self._items.values()), *self._queues.values(), *self._builds.values()]

    def _asked(self, what: str, key: QueueKey) -> None:
        worker = self._current()
        if worker is not None:
            worker.heads[what, key] = self._ledger.events
