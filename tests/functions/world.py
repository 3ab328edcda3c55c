"""A whole Slipway in memory: the real functions over the shipped memory adapters, driven by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from slipway.adapters.memory.builder import MemoryBuilder, MemoryRegistry
from slipway.adapters.memory.bus import MemoryBus
from slipway.adapters.memory.clock import MemoryClock
from slipway.adapters.memory.secrets import MemorySecrets
from slipway.adapters.memory.sources import MemorySources
from slipway.adapters.memory.store import MemoryStore
from slipway.adapters.memory.target import MemoryTarget
from slipway.functions.deliver import deliver
from slipway.functions.submit import submit
from slipway.model import Item, Json, Queue, RunPhase, RunStatus, Topic
from slipway.ports import Ports, Target
from slipway.step import run_of

REPOSITORY = "https://git.example.com/team/digits.git"
TREE = {"train.py": "print('hello')\n", "requirements.txt": ""}
ALL = (Topic.SUBMIT, Topic.BUILD, Topic.ADVANCE)


@dataclass
class World:
    clock: MemoryClock = field(default_factory=MemoryClock)
    store: MemoryStore = field(default_factory=MemoryStore)
    target: MemoryTarget = field(default_factory=MemoryTarget)
    registry: MemoryRegistry = field(default_factory=MemoryRegistry)
    instant: bool = True
    wrap_target: Callable[[Target], Target] = lambda target: target

    def __post_init__(self) -> None:
        self.bus = MemoryBus(self.clock)
        self.sources = MemorySources({REPOSITORY: {"main": TREE}})
        self.builder = MemoryBuilder(self.registry, instant=self.instant)
        self._count = 0
        self.ports = Ports(
            store=self.store,
            bus=self.bus,
            sources=self.sources,
            targets=lambda _: self.wrap_target(self.target),
            builders=lambda *_: self.builder,
            secrets=MemorySecrets(),
            clock=self.clock,
            entropy=self._entropy,
            default_builder=lambda _: "environment",
        )

    def queue(self, name: str = "gpu", **fields: Json) -> Queue:
        return self.store.save_queue(Queue(**{"entity": "team", "name": name, "resource": "local-container", **fields}))

    def submit(self, **fields: Json) -> Item:
        self.clock.advance(0.001)
        return submit({"docker": {"docker_image": "img"}, **LAUNCH, **fields}, self.ports)

    def submit_code(self, **fields: Json) -> Item:
        overrides = {"entry_point": ["python", "train.py"]}
        return submit({"uri": REPOSITORY, "overrides": overrides, **LAUNCH, **fields}, self.ports)

    def deliver_all(self, limit: int = 200) -> int:
        """Delivers until nothing is visible. How many messages that took."""
        for count in range(limit):
            messages = self.bus.receive(ALL, limit=1)
            if not messages:
                return count
            if deliver(messages[0], self.ports):
                self.bus.ack(messages)
        raise AssertionError(f"still messages after {limit}")

    def item(self, item: Item) -> Item:
        found = self.store.item(item.id)
        assert found is not None
        return found

    def end(self, item: Item, phase: RunPhase = RunPhase.FINISHED, **told: Json) -> None:
        self.target.end(run_of(self.item(item)), RunStatus(phase, **told))

    def _entropy(self, size: int) -> bytes:
        self._count += 1
        return self._count.to_bytes(8, "big")[-size:]


LAUNCH: dict[str, Json] = {"entity": "team", "project": "digits", "queue": "gpu"}
