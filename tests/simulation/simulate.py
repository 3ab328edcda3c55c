"""Runs schedules: `run` one, from its seed; as a program many, in as many processes as there are cores.

python -m tests.simulation.simulate --schedules 2000 --seed 7      what is counted, and any broken promise
python -m tests.simulation.simulate --seed 7 --trace               one schedule again, call by call
"""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.simulation.invariants import AT_THE_END
from tests.simulation.scheduler import HarnessError
from tests.simulation.world import World

BATCH = 25
MEMORY = Path("/dev/shm")
"""Where there is one: contexts of builds are written and thrown away by the thousand."""


@dataclass(frozen=True)
class Outcome:
    """What one schedule showed. The same seed always has the same outcome."""

    seed: int
    violations: tuple[str, ...]
    calls: int
    """Calls on the world, of all workers."""
    faults: Counter[str] = field(default_factory=Counter)
    trace: tuple[str, ...] = ()


def run(seed: int, trace: bool = False) -> Outcome:
    """One schedule. Raises HarnessError where the simulator itself is at fault."""
    try:
        world = World(seed, trace=trace)
        _live(world)
    except HarnessError:
        raise
    except Exception as error:
        raise HarnessError(f"seed {seed}: {type(error).__name__}: {error}") from error
    scheduler = world.scheduler
    if scheduler.failure is not None:
        raise HarnessError(f"seed {seed}: {scheduler.failure}") from scheduler.failure
    return Outcome(
        seed, tuple(scheduler.violations), scheduler.calls, Counter(scheduler.faults), tuple(scheduler.trace or ())
    )


def _live(world: World) -> None:
    violations = world.scheduler.violations
    logger = logging.getLogger("slipway")
    spread, logger.propagate = logger.propagate, False
    logger.addHandler(world.log)
    try:
        world.live()
        if not violations:
            world.come_to_rest()
    finally:
        world.scheduler.end()
        logger.removeHandler(world.log)
        logger.propagate = spread
    if not violations:
        violations.extend(broken for invariant in AT_THE_END for broken in invariant(world))


def many(seeds: Iterable[int], processes: int | None = None) -> Iterator[Outcome]:
    """As `run`, of each, over all cores. In no order."""
    waiting = list(seeds)
    batches = [waiting[start : start + BATCH] for start in range(0, len(waiting), BATCH)]
    with ProcessPoolExecutor(processes or os.cpu_count(), initializer=_quick_files) as pool:
        for outcomes in pool.map(_batch, batches):
            yield from outcomes


def seeds_of(seed: int, schedules: int) -> range:
    """The seeds of a series. Series of different seeds share none of them below a million schedules."""
    return range(seed * 1_000_000, seed * 1_000_000 + schedules)


def _batch(seeds: list[int]) -> list[Outcome]:
    return [run(seed) for seed in seeds]


def _quick_files() -> None:
    if MEMORY.is_dir():
        tempfile.tempdir = str(MEMORY)


def main() -> int:
    parser = argparse.ArgumentParser(prog="simulate", description=__doc__, allow_abbrev=False)
    parser.add_argument("--schedules", type=int, default=1000)
    parser.add_argument("--seed", type=int, help="of the series; with --trace, of the one schedule")
    parser.add_argument("--trace", action="store_true", help="one schedule, call by call")
    given = parser.parse_args()
    if given.trace:
        if given.seed is None:
            parser.error("--trace needs --seed")
        outcome = run(given.seed, trace=True)
        print("\n".join(outcome.trace))
        return _verdict(outcome)
    seed = secrets.randbelow(1_000_000) if given.seed is None else given.seed
    print(f"{given.schedules} schedules, SEED={seed}", flush=True)
    return _series(seed, given.schedules)


def _series(seed: int, schedules: int) -> int:
    began = time.monotonic()
    calls, faults, broken = 0, Counter[str](), []
    for outcome in many(seeds_of(seed, schedules)):
        calls += outcome.calls
        faults.update(outcome.faults)
        if outcome.violations:
            broken.append(outcome)
    took = time.monotonic() - began
    print(f"{schedules:,} schedules, {calls:,} calls on the world, {sum(faults.values()):,} faults:")
    for kind, times in sorted(faults.items()):
        print(f"  {times:>10,}  {kind}")
    print(f"{took:.0f} s, {schedules / took * 60:,.0f} schedules a minute")
    for outcome in broken[:20]:
        print(f"SEED={outcome.seed}: {'; '.join(outcome.violations)}")
    if broken:
        first = min(broken, key=lambda outcome: outcome.calls)
        print(f"\nthe shortest of {len(broken)} broken schedules, call by call:")
        again = run(first.seed, trace=True)
        print("\n".join(again.trace[-80:]))
        print(f"\nall of it: make simulate SEED={first.seed} TRACE=1")
        return 1
    print("0 violations")
    return 0


def _verdict(outcome: Outcome) -> int:
    print(f"\nseed {outcome.seed}: {outcome.calls:,} calls on the world, {sum(outcome.faults.values()):,} faults")
    for kind, times in sorted(outcome.faults.items()):
        print(f"  {times:>6,}  {kind}")
    for violation in outcome.violations:
        print(f"VIOLATION {violation}")
    if not outcome.violations:
        print("0 violations")
    return 1 if outcome.violations else 0


if __name__ == "__main__":
    sys.exit(main())
