"""One schedule's world: the real functions, over watched and faulty ports, with people, vendors, events and a clock.

It lives in two parts. First people act and things go wrong; then faults stop, and it runs until it is quiet.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import inf
from random import Random
from typing import Any

from tests.simulation.builders import BuildJob, SimulatedBuilder, Workshop
from tests.simulation.calls import Calls, Port
from tests.simulation.character import Character, drawn
from tests.simulation.ledger import Ledger, WatchedStore
from tests.simulation.liveness import AT_REST
from tests.simulation.people import REPOSITORIES, People
from tests.simulation.scheduler import START, Scheduler
from tests.simulation.targets import Job, LabelledTarget, NamedTarget, Vendor

from slipway.adapters.memory.bus import MemoryBus
from slipway.adapters.memory.secrets import MemorySecrets
from slipway.adapters.memory.sources import MemorySources
from slipway.functions.deliver import deliver
from slipway.functions.observe import observe
from slipway.functions.tick import tick
from slipway.model import Changed, Message, State, Topic
from slipway.ports import Ports

ALL = (Topic.SUBMIT, Topic.BUILD, Topic.ADVANCE)
CANARY = "canary-93ac41f7-secret"
"""The value of a secret. It belongs in jobs, and nowhere that Slipway writes."""
TICK = 60.0
AT_WORK = 3
"""Workers that take messages from the bus at the same time."""
PATIENCE = 86_400.0
"""Seconds after the last fault in which everything must come to its end."""


class WorldClock:
    """The scheduler's time, as the clock of whoever asks shows it."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def now(self) -> float:
        worker = self._scheduler.current
        return self._scheduler.now + (worker.skew if worker is not None else 0.0)


class WorldBus(MemoryBus):
    """The shipped bus in memory; some messages come late, and so out of order. `sent` is every body there ever was."""

    def __init__(self, scheduler: Scheduler, clock: Any, max_receives: int) -> None:
        super().__init__(clock, max_receives=max_receives)
        self.late = 0.0
        self.sent: list[tuple[Topic, str]] = []
        self._scheduler = scheduler

    def send(self, topic: Topic, body: str, delay: float = 0.0) -> None:
        self.sent.append((topic, body))
        if self.late and self._scheduler.rng.random() < self.late:
            self._scheduler.faults["a message comes late"] += 1
            delay += self._scheduler.rng.random() * 30.0
        super().send(topic, body, delay)

    def next_visible(self) -> float:
        return self._next_visible(ALL)

    def empty(self) -> bool:
        return not self._entries


class Listener(logging.Handler):
    """What Slipway logs. An exception that nobody foresaw is a bug."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []
        self.bugs: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        self.lines.append(line)
        if record.levelno >= logging.ERROR:
            error = record.exc_info[1] if record.exc_info else None
            self.bugs.append(f"{line}: {type(error).__name__}: {error}")


class World:
    """Everything there is in one schedule."""

    def __init__(self, seed: int, *, trace: bool = False) -> None:
        rng = Random(seed)
        self.character: Character = drawn(rng)
        self.scheduler = Scheduler(rng, trace=trace)
        self.log = Listener()
        self.ledger = Ledger(self.scheduler)
        self.store = WatchedStore(self.ledger, lambda: self.scheduler.current)
        self.mishaps = replace(self.character.mishaps)
        self.bus = WorldBus(self.scheduler, _Plain(self.scheduler), self.character.max_receives)
        self._calls = Calls(self.scheduler, self.mishaps)
        self.vendor = Vendor(
            self.scheduler,
            self._calls,
            self.character.habits,
            created=lambda job: self.ledger.job_created(job, self.vendor),
            changed=self._tell_of_a_job,
            may_forget=self._may_forget,
        )
        self.workshop = Workshop(
            self.scheduler,
            self._calls,
            self.character.manners,
            created=lambda build: self.ledger.build_created(build, self.workshop),
            ended=self._tell_of_a_build,
        )
        self.ports = self._ports()
        self.people = People(self.character, rng, self.ports, self.bus, self.ledger, self._a_person)
        self._expected = 0
        """Events on their way."""

    def live(self) -> None:
        """People act and things go wrong, until the horizon."""
        for queue in self.character.queues:
            self.store.save_queue(queue)
        rng, horizon = self.scheduler.rng, self.character.horizon
        self.bus.late = self.character.late
        for _ in range(self.character.submissions):
            self.scheduler.at(START + rng.random() ** 2 * horizon, self.people.submit)
        for _ in range(self.character.actions):
            self.scheduler.at(START + rng.random() * horizon, self.people.act)
        if self.character.deletes_images:
            self.scheduler.at(START + rng.random() * horizon, self._delete_an_image)
        self._next_tick()
        self._until(START + horizon)

    def come_to_rest(self) -> bool:
        """No more faults. Whether it came to rest in time."""
        scheduler = self.scheduler
        scheduler.note("--- faults have stopped")
        self.mishaps.rate, self.mishaps.refusals, self.mishaps.slow, self.bus.late = 0.0, 0.0, 0.0, 0.0
        self.people.resume_all()
        redriven: set[str] = set()
        until = scheduler.now + PATIENCE
        while scheduler.now < until and not scheduler.violations:
            self._until(scheduler.now + 150.0)
            letters = self.bus.dead_letters()
            again = [each for each in letters if each.topic is Topic.SUBMIT and each.body not in redriven]
            if not again and self.quiet():
                return True
            for letter in again:
                redriven.add(letter.body)
                self.bus.redrive(letter.id)
        return False

    def quiet(self) -> bool:
        return (
            self.scheduler.idle()
            and self.bus.empty()
            and all(item.state.terminal for item in self.ledger.items.values())
            and not any(job.alive for job in self.vendor.jobs)
        )

    # --- how the world is wired
    def _ports(self) -> Ports:
        calls, scheduler, character = self._calls, self.scheduler, self.character
        secrets = Port(MemorySecrets({"WANDB_API_KEY": CANARY}), "secrets", calls)
        adapter = NamedTarget if character.habits.takes_names else LabelledTarget
        target = adapter(self.vendor, calls, secrets, character.start_lease)
        builder = SimulatedBuilder(self.workshop, calls)
        trees = {uri: {"main": {"train.py": f"print('{uri}')\n", "requirements.txt": ""}} for uri in REPOSITORIES}
        sources = MemorySources(trees)
        watched: Any = Port(sources, "sources", calls)
        watched.check = sources.check
        return Ports(
            store=Port(self.store, "store", calls),
            bus=Port(self.bus, "bus", calls),
            sources=watched,
            targets=lambda _: target,
            builders=lambda *_: builder,
            secrets=secrets,
            clock=WorldClock(scheduler),
            entropy=scheduler.rng.randbytes,
            default_builder=lambda _: "environment",
            resources=("local-container",),
        )

    def _until(self, when: float) -> None:
        self.scheduler.run(when, self._take_messages)

    # --- invocations
    def _spawn(self, kind: str, name: str, work: Callable[[], object]) -> None:
        skew = self.character.skew
        wrong = (self.scheduler.rng.random() * 2 - 1) * skew if skew else 0.0
        self.scheduler.spawn(kind, name, work, skew=wrong, limit=self.character.limit)

    def _a_person(self, name: str, work: Callable[[], object]) -> None:
        self._spawn("people", name, work)

    def _take_messages(self) -> float:
        """Workers for what is visible. When something becomes visible next."""
        visible = self.bus.next_visible()
        if visible > self.scheduler.now:
            if self.character.calm and not self._expected and self.scheduler.idle():
                self._at_rest()
            return visible
        if self.scheduler.busy.get("messages", 0) >= AT_WORK:
            return inf
        self._spawn("messages", "messages", self._take)
        return inf

    def _take(self) -> None:
        messages = self.ports.bus.receive(ALL)
        for message in messages:
            handle = partial(self._handle, message)
            if self.character.twice and self.scheduler.rng.random() < self.character.twice:
                self.scheduler.faults["a message is delivered twice"] += 1
                delay = self.scheduler.rng.choice((0.0, 0.5, 50.0))
                self.scheduler.after(delay, partial(self._spawn, "again", "second delivery", handle))
            handle()

    def _handle(self, message: Message) -> None:
        if deliver(message, self.ports):
            self.ports.bus.ack([message])

    def _next_tick(self) -> None:
        if self.scheduler.busy.get("tick", 0) < 2:
            self._spawn("tick", "tick", lambda: tick(self.ports))
        self.scheduler.after(TICK, self._next_tick)

    def _tell_of_a_job(self, job: Job) -> None:
        self._tell(Changed(item_id=job.run.item_id))

    def _tell_of_a_build(self, build: BuildJob) -> None:
        self._tell(Changed(image=build.image))

    def _tell(self, changed: Changed) -> None:
        """The event of a change: lost, late, or twice."""
        rng, character = self.scheduler.rng, self.character
        if character.lost and rng.random() < character.lost:
            self.scheduler.faults["an event is lost"] += 1
            return
        times = 1
        if character.twice and rng.random() < character.twice:
            self.scheduler.faults["an event comes twice"] += 1
            times = 2
        for _ in range(times):
            delay = rng.random() * character.event_delay
            self._expected += 1
            self.scheduler.after(delay, partial(self._observe, changed))

    def _observe(self, changed: Changed) -> None:
        self._expected -= 1
        self._spawn("events", "event", lambda: observe(changed, self.ports))

    def _at_rest(self) -> None:
        """Where nothing goes wrong, what can go on has gone on before the clock has to help."""
        for broken in (broken for promise in AT_REST for broken in promise(self.ledger, self.vendor, self.workshop)):
            self.scheduler.break_promise(broken)

    # --- what else happens
    def _may_forget(self, job: Job) -> bool:
        """Only what Slipway knows to run, and while nobody may be about to start it: a start that arrives after the
        backend has forgotten the run cannot be told from the first."""
        item = self.ledger.items[job.run.item_id]
        return self.scheduler.idle() and (item.state is State.RUNNING or item.state.terminal)

    def _delete_an_image(self) -> None:
        if self.workshop.images:
            self.scheduler.faults["an image is deleted"] += 1
            self.workshop.delete(self.scheduler.rng.choice(sorted(self.workshop.images)))


class _Plain:
    """The bus's own clock, which is right."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def now(self) -> float:
        return self._scheduler.now
