"""`make simulate-mutants`: every planted bug is looked for with the simulator, and a table says what found it.

A bug is caught by a schedule that breaks a promise with it and keeps every promise without it. That the harness fails
under a bug catches nothing.
"""

from __future__ import annotations

import argparse
import multiprocessing
import secrets
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from tests.simulation.mutants import MUTANTS
from tests.simulation.planting import Mutant, mutated, planted
from tests.simulation.simulate import HarnessError, run

SCHEDULES = 2000
"""Within so many schedules each bug must be caught."""
PROCESSES = 2
UNFORESEEN = ("died of a bug", "failed in a way that nobody foresaw")
"""In words of the simulator: an exception that no code foresaw, which breaks no promise by itself."""


@dataclass(frozen=True)
class Found:
    """How the hunt for one bug went."""

    name: str
    schedules: int
    """How many were run."""
    reached: int
    """In how many of them the code with the bug was called at all."""
    seeds: tuple[int, ...] = ()
    """Those that catch it."""
    promise: str = ""
    """What the first of them broke."""
    harness: int = 0
    """How often the harness itself failed."""

    @property
    def caught(self) -> bool:
        return bool(self.seeds)


def broken(mutant: Mutant, seed: int) -> tuple[str, int]:
    """The first promise that this schedule breaks with the bug and not without it, "" for none; and how often the code
    with the bug was called. Raises HarnessError."""
    with planted(mutant) as calls:
        promises = [each for each in run(seed).violations if not any(words in each for words in UNFORESEEN)]
    if calls() and promises and not run(seed).violations:
        return promises[0], calls()
    return "", calls()


def hunt(mutant: Mutant, seeds: Sequence[int], wanted: int = 1) -> Found:
    """Runs one schedule after the other until so many have caught the bug."""
    found = dict[int, str]()
    schedules = reached = harness = 0
    for seed in seeds:
        schedules += 1
        try:
            promise, calls = broken(mutant, seed)
        except HarnessError:
            harness += 1
            continue
        reached += calls > 0
        if promise:
            found[seed] = promise
        if len(found) == wanted:
            break
    return Found(mutant.name, schedules, reached, tuple(found), next(iter(found.values()), ""), harness)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="simulate-mutants", description=__doc__)
    parser.add_argument("--seed", type=int, help="the first of the seeds; a fresh one by default")
    parser.add_argument("--schedules", type=int, default=SCHEDULES)
    parser.add_argument("--wanted", type=int, default=1, help="go on until so many seeds have caught a bug")
    parser.add_argument("names", nargs="*", help="only these bugs")
    options = parser.parse_args(arguments)
    seed = secrets.randbelow(10**9) if options.seed is None else options.seed
    mutants = [mutant for mutant in MUTANTS if not options.names or mutant.name in options.names]
    for mutant in mutants:
        mutated(mutant)
    say = partial(print, flush=True)
    say(f"{len(mutants)} planted bugs, at most {options.schedules} schedules each, from seed {seed}")
    say(f"{'bug':36} {'seeds':>12} {'after':>5}  the promise that it broke first")
    work = partial(_hunt, seeds=range(seed, seed + options.schedules), wanted=options.wanted)
    with multiprocessing.get_context("fork").Pool(PROCESSES) as pool:
        found = [_told(each, say) for each in pool.imap_unordered(work, map(MUTANTS.index, mutants))]
    missed = [each.name for each in found if not each.caught]
    say(f"\n{len(found) - len(missed)} of {len(found)} caught" + "".join(f"\n  not caught: {name}" for name in missed))
    return 1 if missed else 0


def _hunt(index: int, seeds: Sequence[int], wanted: int) -> Found:
    return hunt(MUTANTS[index], seeds, wanted)


def _told(found: Found, say: Callable[[str], None]) -> Found:
    how = found.promise.splitlines()[0] if found.caught else f"NOT CAUGHT; reached in {found.reached} schedules"
    failures = f"; the harness failed {found.harness} times" if found.harness else ""
    say(f"{found.name:36} {' '.join(map(str, found.seeds)):>12} {found.schedules:5}  {how}{failures}")
    return found


if __name__ == "__main__":
    sys.exit(main())
