"""How long it takes from a submission to the call that starts its run, image present, once a second.

With workers in the process that submits, and with workers in other processes on the same folder. The time is taken
before the launch spec is parsed, and again inside the target's `start`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import quantiles

from bench.figure import Figure
from bench.place import SPEC, NoopTarget, ports_at, with_queue
from slipway.cli.worker import Workers
from slipway.functions.submit import submit
from slipway.ports import Ports

SUBMISSIONS = 30
PROCESSES = 2


def figures() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory(prefix="slipway-bench-") as folder:
        yield from _figures("one process", _in_one_process(Path(folder)), p50=0.040, p99=0.250)
    with tempfile.TemporaryDirectory(prefix="slipway-bench-") as folder:
        yield from _figures(f"{PROCESSES} worker processes", _across_processes(Path(folder)), p50=0.250, p99=0.250)


def _figures(where: str, seconds: list[float], *, p50: float, p99: float) -> Iterator[Figure]:
    cuts = quantiles(seconds, n=100, method="inclusive")
    for name, value, bound in (("p50", cuts[49], p50), ("p99", cuts[98], p99)):
        what = f"submission → start called, {where}, {name} of {len(seconds)} at 1/s"
        yield Figure(what, f"{value * 1000:.1f} ms", f"≤ {bound * 1000:.0f} ms", value <= bound)


def _in_one_process(home: Path) -> list[float]:
    told: dict[str, float] = {}
    heard = threading.Condition()

    def hear(item: str, at: float) -> None:
        with heard:
            told[item] = at
            heard.notify_all()

    ports = with_queue(ports_at(home, NoopTarget(hear)))
    workers = Workers(ports, advance=2, tick_seconds=3600.0)
    workers.start()
    try:
        submitted = _submit_once_a_second(ports)
        with heard:
            assert heard.wait_for(lambda: submitted.keys() <= told.keys(), timeout=30)
    finally:
        workers.stop(10)
    return [told[item] - at for item, at in submitted.items()]


def _across_processes(home: Path) -> list[float]:
    """Each worker process appends `item time` lines to a pipe that this one reads when all is over."""
    ports = with_queue(ports_at(home, NoopTarget()))
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "bench.latency", str(home), str(writing)]
    workers = [
        subprocess.Popen(command, pass_fds=[writing], stdout=subprocess.PIPE, text=True) for _ in range(PROCESSES)
    ]
    os.close(writing)
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        submitted = _submit_once_a_second(ports)
        told: dict[str, float] = {}
        with os.fdopen(reading) as lines:
            while not submitted.keys() <= told.keys():
                item, at = lines.readline().split()
                told[item] = float(at)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    return [told[item] - at for item, at in submitted.items()]


def _submit_once_a_second(ports: Ports) -> dict[str, float]:
    submitted = {}
    begun = time.time()
    for number in range(SUBMISSIONS):
        time.sleep(max(0.0, begun + number - time.time()))
        at = time.time()
        submitted[submit(SPEC, ports).id] = at
    return submitted


def _work(home: Path, pipe: int) -> None:
    target = NoopTarget(lambda item, at: os.write(pipe, f"{item} {at}\n".encode()) and None)
    Workers(ports_at(home, target), advance=1, tick_seconds=3600.0).start()
    print("ready", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    _work(Path(sys.argv[1]), int(sys.argv[2]))
