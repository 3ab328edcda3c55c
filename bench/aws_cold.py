"""What a cold start of each function on AWS costs, beside a function with one client of boto3 and nothing else.

A start is CPU. Lambda gives that in proportion to the memory, and the template gives `submit` and `advance` one whole
CPU. So it is measured, of the function's own process, from its very start to the end of its first invocation. What
answers it (moto, the stand-in of SageMaker) is another process.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from statistics import median
from typing import Any

from tools.stage import CLOUDS

from bench.aws_emulator import Emulator, Invocation, emulator
from bench.aws_world import World, world
from bench.figure import Figure
from slipway.model import Topic

FUNCTIONS = tuple(CLOUDS["aws"].functions)
ROUNDS = 5
WARM = 3
"""Invocations after the first; the last is told."""
GOAL = 0.300
"""Seconds of CPU until the first invocation, of `submit` and `advance`."""
LARGEST = 15_000_000
"""Bytes of a zip."""
TIMES = 2.0
"""A whole cold start, compared with the peer's."""


@dataclass(frozen=True)
class Started:
    """Of one function, the medians of the rounds; CPU seconds, and `waited` by the clock."""

    init: float
    first: float
    """From the start of the process to the end of its first invocation."""
    waited: float
    warm_cpu: float
    warm_wall: float
    modules: int
    modules_after: int
    rss: float


@dataclass(frozen=True)
class Results:
    started: Mapping[str, Started]
    """By function, and `peer`."""
    sizes: Mapping[str, int]
    """Function → bytes of its zip."""


def figures() -> Iterator[Figure]:
    results = measured()
    if results is None:
        yield Figure("cold starts on AWS", "not measured: they want Python 3.11 on x86_64", "")
        return
    started, sizes = dict(results.started), results.sizes
    peer = started.pop("peer")
    yield Figure(
        "a function with one client of boto3: CPU until its first invocation, and after it", _cpu(peer), "", True
    )
    for name, start in started.items():
        goal = name in ("submit", "advance")
        bound = f"≤ {GOAL * 1000:.0f} ms at first" if goal else ""
        what = f"`{name}`, cold: CPU until its first invocation, and after it"
        yield Figure(what, _cpu(start), bound, start.init <= GOAL or not goal)
        ratio = start.first / peer.first
        what = f"`{name}`, cold: the same to its first answer, compared with that function"
        yield Figure(what, f"{ratio:.2f} ×", f"≤ {TIMES:.0f} ×", ratio <= TIMES)
        took = f"{start.warm_cpu * 1000:.0f} ms CPU, {start.warm_wall * 1000:.0f} ms by the clock"
        what = f"`{name}`, warm: an invocation over moto on loopback, and its memory (RSS)"
        yield Figure(what, f"{took}, {start.rss / 1e6:.0f} MB", "")
        what = f"`{name}`: modules loaded before its first invocation, and after it"
        yield Figure(what, f"{start.modules}, {start.modules_after}", "")
        size = sizes[name] / 1e6
        yield Figure(f"`{name}`: its zip, without boto3", f"{size:.1f} MB", "≤ 15 MB", sizes[name] <= LARGEST)


@cache
def measured() -> Results | None:
    """Once in a run: the figures of costs are worked out from the same. None where this is not the machine for it."""
    with emulator(FUNCTIONS) as lambda_:
        return None if lambda_ is None else Results(_started_in(lambda_), lambda_.sizes)


def _started_in(lambda_: Emulator) -> Mapping[str, Started]:
    """All functions in turn, `ROUNDS` times, so that drift hits each; `peer` among them."""
    rounds: dict[str, list[list[Invocation]]] = {name: [] for name in ("peer", *FUNCTIONS)}
    with ExitStack() as until:
        there = until.enter_context(world())
        environment = {**there.environment, "POWERTOOLS_TRACE_DISABLED": "false"}
        for _ in range(ROUNDS):
            for name, results in rounds.items():
                handler = "aws_peer.handler" if name == "peer" else f"app.{name}"
                events = [_event(name, there) for _ in range(1 + WARM)]
                results.append(lambda_.run("advance" if name == "peer" else name, handler, environment, events))
    return {name: _medians(results) for name, results in rounds.items()}


def _event(name: str, there: World) -> Any:
    match name:
        case "submit":
            return there.submission()
        case "advance":
            return there.message(Topic.ADVANCE, there.submit())
        case "build":
            # Of an item whose image is there: what fetching a source takes is its server's matter.
            return there.message(Topic.BUILD, there.submit())
        case "observe":
            job = there.start()
            there.stack.sagemaker.train(job)
            event = there.stack.events.pop()
            there.stack.events.clear()
            return event
        case "tick":
            # With no job alive, and nothing due.
            for job in [name for name, each in there.stack.sagemaker.jobs.items() if not each.over]:
                there.stack.sagemaker.finish(job)
    return {}


def _medians(rounds: list[list[Invocation]]) -> Started:
    for invocations in rounds:
        for each in invocations:
            failed = isinstance(each.answer, dict) and (
                each.answer.get("batchItemFailures") or each.answer.get("statusCode", 201) != 201
            )
            assert not failed, each.answer
    firsts, lasts = [each[0] for each in rounds], [each[-1] for each in rounds]
    return Started(
        init=median(each.init for each in firsts),
        first=median(each.init + each.cpu for each in firsts),
        waited=median(each.waited for each in firsts),
        warm_cpu=median(each.cpu for each in lasts),
        warm_wall=median(each.wall for each in lasts),
        modules=firsts[0].modules,
        modules_after=firsts[0].modules_after,
        rss=median(each.rss for each in lasts),
    )


def _cpu(start: Started) -> str:
    return f"{start.init * 1000:.0f} ms, {start.first * 1000:.0f} ms ({start.waited * 1000:.0f} ms by the clock)"
