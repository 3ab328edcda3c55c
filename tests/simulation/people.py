"""What people do: submit, again when no answer came, cancel, change their minds about priorities and queues.

Each does it in an invocation of its own, which goes wrong like any other. What they were promised is remembered.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from random import Random

from tests.simulation.character import Character
from tests.simulation.ledger import Ledger

from slipway.adapters.memory.bus import MemoryBus
from slipway.errors import Invalid, NotFound, SlipwayError
from slipway.functions import control
from slipway.functions.submit import submit
from slipway.model import Desired, Failure, Item, Json, State, Topic
from slipway.ports import Ports

REPOSITORIES = ("https://git.example.com/team/digits.git", "https://git.example.com/team/letters.git")

Begin = Callable[[str, Callable[[], object]], None]
"""Begins an invocation of that name."""


class People:
    def __init__(
        self, character: Character, rng: Random, ports: Ports, bus: MemoryBus, ledger: Ledger, begin: Begin
    ) -> None:
        self.accepted: set[str] = set()
        """Items whose submitters were told that they are accepted."""
        self.sent: set[str] = set()
        """Names of what was put on the bus directly."""
        self._character = character
        self._rng = rng
        self._ports = ports
        self._bus = bus
        self._ledger = ledger
        self._begin = begin
        self._count = 0

    def submit(self) -> None:
        rng = self._rng
        self._count += 1
        name = f"s{self._count}"
        document = self._document(name)
        way = rng.random()
        if way < 0.2:
            self.sent.add(name)
            self._bus.send(Topic.SUBMIT, json.dumps(document))
        elif way < 0.25:
            self._bus.send(Topic.SUBMIT, rng.choice(("{", "[]", '{"queue": "nowhere"}')))
        elif way < 0.75:
            self._keyed({**document, "idempotency_key": f"key-{name}"}, tries=5)
            if rng.random() < 0.3:
                self._keyed({**document, "idempotency_key": f"key-{name}"}, tries=1)
        else:
            self._begin(f"submit {name}", lambda: self._submitted(document))

    def act(self) -> None:
        """Someone does something to an item or to a queue."""
        often = (self._cancel, self._cancel, self._reprioritise, self._edit, self._hold, self._resume, self._retry)
        self._rng.choice((*often, *often, self._delete, self._redrive))()

    def resume_all(self) -> None:
        """Afterwards, what was paused goes on, mostly; the rest runs into its deadline."""
        for queue in self._character.queues:
            if ("paused", queue.key) in self._ledger.held_back and self._rng.random() < 0.8:
                resume = partial(control.resume, queue.key, self._ports)
                self._begin(f"resume {queue.key}", partial(self._or_not, resume))

    def _document(self, name: str) -> dict[str, Json]:
        rng = self._rng
        document: dict[str, Json] = {
            "entity": "team",
            "project": "digits",
            "queue": rng.choice(self._character.queues).name,
            "name": name,
            "priority": rng.choice((0, 1, 2, 3)),
            "template_variables": {"cpus": rng.randint(1, 8)},
        }
        if rng.random() < 0.5:
            return {**document, "docker": {"docker_image": f"team/image-{rng.randint(1, 2)}"}}
        code = {"uri": rng.choice(REPOSITORIES), "overrides": {"entry_point": ["python", "train.py"]}}
        return {**document, **code}

    def _keyed(self, document: Mapping[str, Json], tries: int) -> None:
        """A client that submits again, with its key, what it got no answer for."""

        def attempt() -> None:
            left = tries - 1
            answered = False
            try:
                self._submitted(document)
                answered = True
            finally:
                if not answered and left:
                    self._keyed(document, left)

        self._begin(f"submit {document['name']}", attempt)

    def _submitted(self, document: Mapping[str, Json]) -> Item:
        item = submit(document, self._ports)
        self.accepted.add(item.id)
        return item

    def _cancel(self) -> None:
        self._on_an_item("cancel", lambda item: self._cancelled(item.id), everywhere=True)

    def _cancelled(self, item_id: str) -> None:
        control.cancel(item_id, self._ports)
        now = self._ledger.items[item_id]
        if now.desired is not Desired.STOP and not now.state.terminal:
            self._ledger.scheduler.break_promise(f"{item_id} was cancelled, and the wish is not written down")

    def _reprioritise(self) -> None:
        priority = self._rng.choice((0, 1, 2, 3))
        self._on_an_item("reprioritise", lambda item: control.reprioritise(item.id, priority, self._ports))

    def _retry(self) -> None:
        over = [item for item in self._items() if item.state.terminal]
        if over:
            item = self._rng.choice(over)
            self._begin(f"retry {item.id[-5:]}", lambda: self._retried(item))

    def _retried(self, item: Item) -> None:
        self.accepted.add(control.retry(item.id, self._ports).id)

    def _edit(self) -> None:
        queue = self._rng.choice(self._character.queues)
        wanted = replace(
            queue,
            max_jobs=self._rng.choice((1, 2, 3, -1)),
            prioritization=self._rng.random() < 0.5,
            max_resumes=self._rng.choice((0, 5)),
            retries={str(failure): self._rng.randint(0, 2) for failure in Failure},
            timeouts=replace(
                queue.timeouts, pending=self._rng.choice((600.0, 7200.0)), run=self._rng.choice((100.0, 900.0))
            ),
            paused=False,
            version=0,
        )
        self._begin(f"apply {queue.name}", lambda: control.apply_queue(wanted, self._ports))

    def _hold(self) -> None:
        key = self._rng.choice(self._character.queues).key
        if self._rng.random() < 0.8:
            self._begin(f"pause {key}", lambda: control.pause(key, self._ports))
        else:
            self._begin(f"drain {key}", lambda: control.drain(key, self._ports))

    def _resume(self) -> None:
        key = self._rng.choice(self._character.queues).key
        self._begin(f"resume {key}", lambda: control.resume(key, self._ports))

    def _delete(self) -> None:
        """A queue, where nothing of it is under way; it is made again later, or not."""
        queue = self._rng.choice(self._character.queues)
        self._begin(f"delete {queue.name}", lambda: self._or_not(lambda: control.delete_queue(queue.key, self._ports)))
        if self._rng.random() < 0.5:
            again = replace(queue, paused=False)
            self._begin(f"apply {queue.name}", lambda: control.apply_queue(again, self._ports))

    def _redrive(self) -> None:
        """Someone looks at the dead letters."""
        for letter in self._bus.dead_letters():
            self._begin(f"redrive {letter.id}", lambda id=letter.id: self._or_not(lambda: self._ports.bus.redrive(id)))

    def _or_not(self, deed: Callable[[], object]) -> None:
        with suppress(Invalid, NotFound):
            deed()

    def _on_an_item(self, what: str, deed: Callable[[Item], object], *, everywhere: bool = False) -> None:
        items = [item for item in self._items() if everywhere or item.state in (State.PENDING, State.BUILDING)]
        if not items:
            return
        item = self._rng.choice(items)

        def begun() -> None:
            try:
                self._or_not(lambda: deed(item))
            except SlipwayError:
                if self._rng.random() < 0.5:
                    self._begin(f"{what} {item.id[-5:]} again", begun)
                raise

        self._begin(f"{what} {item.id[-5:]}", begun)

    def _items(self) -> list[Item]:
        return [self._ledger.items[item_id] for item_id in self._ledger.order]
