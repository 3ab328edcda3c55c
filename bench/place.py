"""A Slipway in a temporary folder: SQLite store and bus, and a target that does nothing but say when it was called."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from slipway.adapters.local.bus import SqliteBus
from slipway.adapters.local.clock import SystemClock
from slipway.adapters.local.database import Database
from slipway.adapters.local.store import SqliteStore
from slipway.adapters.local.wakeup import Wakeup
from slipway.adapters.memory.builder import MemoryBuilder
from slipway.adapters.memory.secrets import MemorySecrets
from slipway.adapters.memory.sources import MemorySources
from slipway.model import Json, Launch, Queue, RunPhase, RunRef, RunStatus
from slipway.ports import Ports

SPEC: dict[str, Json] = {
    "entity": "team",
    "project": "bench",
    "queue": "noop",
    "docker": {"docker_image": "registry.example.com/team/train:1"},
    "overrides": {
        "args": ["--epochs", "10", "--data", "s3://team-data/images/2026"],
        "run_config": {
            "model": {"name": "resnet50", "pretrained": True, "dropout": 0.1, "layers": [64, 128, 256, 512]},
            "optimizer": {"name": "adamw", "lr": 0.0003, "betas": [0.9, 0.999], "weight_decay": 0.01},
            "data": {"batch_size": 128, "workers": 8, "augment": ["flip", "crop", "jitter"], "seed": 1234},
            "schedule": {"warmup_steps": 500, "max_epochs": 90, "kind": "cosine"},
            "notes": "baseline for the comparison of augmentations, third repetition",
        },
    },
}
"""With what the queue adds, an item of about 2 KB."""


class NoopTarget:
    """Runs that are over as soon as they are started. `told` hears the item id and the time of each start."""

    look_again = 60.0
    start_lease = 120.0

    def __init__(self, told: Callable[[str, float], None] = lambda *_: None) -> None:
        self._told = told

    def start(self, launch: Launch) -> RunStatus:
        self._told(launch.run.item_id, time.time())
        return RunStatus(RunPhase.FINISHED, exit_code=0)

    def status(self, run: RunRef) -> RunStatus:
        return RunStatus(RunPhase.ABSENT)

    def live(self) -> list[RunRef]:
        return []

    def stop(self, run: RunRef) -> None:
        """Over already."""

    def logs(self, run: RunRef, follow: bool = False) -> list[str]:
        return []


def ports_at(home: Path, target: NoopTarget, synchronous: str = "NORMAL") -> Ports:
    home.mkdir(parents=True, exist_ok=True)
    clock, database = SystemClock(), Database(home, synchronous=synchronous)
    builder = MemoryBuilder()
    count = iter(range(1 << 60))
    return Ports(
        store=SqliteStore(database),
        bus=SqliteBus(database, clock, Wakeup(home)),
        sources=MemorySources(),
        targets=lambda _: target,  # type: ignore[arg-type, return-value]
        builders=lambda *_: builder,
        secrets=MemorySecrets(),
        clock=clock,
        entropy=lambda size: next(count).to_bytes(8, "big")[-size:],
        default_builder=lambda _: "noop",
    )


def with_queue(ports: Ports) -> Ports:
    config = {"env": {f"SETTING_{i}": f"a value of some length {i}" for i in range(10)}}
    ports.store.save_queue(Queue("team", "noop", "local-container", config=config, max_jobs=-1))
    return ports
