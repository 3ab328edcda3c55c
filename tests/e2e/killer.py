"""Four workers on one data folder, killed at random and replaced, until standard input is closed.

    python tests/e2e/killer.py HOME SEED RECORD

The workers are forked from this process, which has imported everything and opened nothing: a new one is at work within
milliseconds, so that most of a short life is spent in the middle of something. Killing starts once there is a RECORD,
the first run's own word. When standard input ends, all are killed, and the number of killings before is printed.
"""

from __future__ import annotations

import logging
import os
import random
import select
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path

from slipway import wire
from slipway.adapters.local import archive, bus, clock, environment, process, secrets, sources, store, wakeup
from slipway.adapters.local.watch import ProcessWatcher
from slipway.cli.worker import Workers

IMPORTED = (archive, bus, clock, environment, process, secrets, sources, store, wakeup)
"""What `wire` would import in each worker at its first use, and so again and again."""
WORKERS = 4
PAUSE = (0.1, 0.5)
"""Seconds between two killings."""
VISIBILITY = 5.0
"""Seconds until what a killed worker had in hand is handed to another."""


def main(home: Path, seed: int, record: Path) -> None:
    chance = random.Random(seed)
    workers = [_fork(home) for _ in range(WORKERS)]
    killed = 0
    try:
        while not select.select([sys.stdin], [], [], chance.uniform(*PAUSE))[0]:
            if record.exists():
                victim = workers.pop(chance.randrange(WORKERS))
                _kill(victim)
                killed += 1
                workers.append(_fork(home))
    finally:
        for worker in workers:
            _kill(worker)
    sys.stdout.write(str(killed))


def _fork(home: Path) -> int:
    worker = os.fork()
    if worker == 0:
        try:
            _work(home)
        finally:
            os._exit(1)
    return worker


def _work(home: Path) -> None:
    logging.basicConfig(format=f"%(asctime)s {os.getpid()} %(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    ports = wire.local(wire.Settings(home, local_paths=True, visibility=VISIBILITY))
    ports = replace(ports, watchers=lambda: [ProcessWatcher(home)])  # a Docker engine would be asked for its events
    Workers(ports, advance=1, tick_seconds=1.0).start()
    threading.Event().wait()


def _kill(worker: int) -> None:
    """A worker that ended by itself is an error of its own: it is seen here, since nobody else would."""
    os.kill(worker, signal.SIGKILL)
    _, status = os.waitpid(worker, 0)
    if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
        sys.exit(f"a worker ended by itself, with {os.waitstatus_to_exitcode(status)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
