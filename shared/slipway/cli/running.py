"""The whole system in one process: the HTTP API, workers, watchers and the clock, from start to drain."""

from __future__ import annotations

import ipaddress
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from slipway import wire
from slipway.cli import instance
from slipway.cli.output import fields, note, stdout
from slipway.cli.server import Server, listen, url_of
from slipway.cli.worker import Workers
from slipway.errors import Forbidden
from slipway.journal import journaled
from slipway.model import State
from slipway.ports import Ports
from slipway.wire import Settings

DRAIN = 10.0
"""Seconds in which the steps in hand are finished at the end."""
LOOK_EVERY = 0.5
"""Seconds between looks at an item whose log is followed before there is one."""
COUNTED = 1000
"""Runs left running are counted up to this many."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What `up` was asked to be."""

    host: str
    port: int
    http: bool
    workers: int
    builders: int
    tick: float
    keyless: bool


def run(plan: Plan, settings: Settings) -> None:
    """Until the first SIGINT or SIGTERM, and the drain after it.

    Raises Forbidden where anyone could submit, AlreadyExists where another process serves this data folder, Temporary
    where the port is in use, and what opening the data folder raises.
    """
    with ExitStack() as stack:
        stopped = stack.enter_context(stop_signals())
        ports = wire.local(settings)
        ports = replace(ports, store=journaled(ports.store))
        if plan.http:
            _check_keys(plan, ports)
        workers = Workers(ports, advance=plan.workers, build=plan.builders, tick_seconds=plan.tick)
        url = stack.enter_context(_served(plan, settings, ports, workers)) if plan.http else None
        workers.start()
        this = instance.this_process(url, plan.workers + plan.builders, plan.http and plan.keyless)
        stack.enter_context(instance.announced(settings.home, this))
        _say_ready(plan, settings, url)
        stopped.wait()
        note("Stopping: no new work is taken in, steps in hand are finished. Ctrl-C again quits at once.")
        late = workers.stop(DRAIN)
        if late:
            note(f"Still at work after {DRAIN:g} s, and left to the next `slipway up`: {', '.join(late)}.")
        _say_left(ports)


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """An event that the first SIGINT or SIGTERM sets; the second quits at once."""
    stopped = threading.Event()

    def stop(number: int, _: object) -> None:
        if stopped.is_set():
            os._exit(128 + number)
        stopped.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _served(plan: Plan, settings: Settings, ports: Ports, workers: Workers) -> Iterator[str]:
    """The API answers as long as the block runs; its URL."""
    from slipway.web.app import create_app

    with instance.only_server(settings.home), listen(plan.host, plan.port) as listening:
        url = url_of(listening)
        app = create_app(ports, keyless=plan.keyless, ready=workers.problems, look_every=LOOK_EVERY)
        server = Server(app, listening)
        server.start()
        try:
            yield url
        finally:
            server.stop()


def _check_keys(plan: Plan, ports: Ports) -> None:
    if plan.keyless and not is_loopback(plan.host):
        raise Forbidden(
            f"--keyless on {plan.host} would let everyone who reaches it run code here: without a key only a "
            "loopback address is served. Leave --keyless out, and make a key with `slipway key create NAME`"
        )
    if not plan.keyless and not ports.store.keys():
        raise Forbidden(
            f"requests to {plan.host} would need a key, and there is none yet. Make one first: "
            "`slipway key create NAME --entity TEAM`"
        )


def _say_ready(plan: Plan, settings: Settings, url: str | None) -> None:
    allowed = {
        "paths on this machine": settings.local_paths,
        "private addresses": settings.private_addresses,
        "git:// and http://": settings.insecure_git,
    }
    also = [word for word, allows in allowed.items() if allows]
    access = "no key is asked for: whoever can log in to this machine may submit" if plan.keyless else "with a key"
    rows = [
        ("Slipway is up", f"{url}   (API and its documentation: {url}/docs)" if url else "workers only, no HTTP"),
        ("access", access if url else ""),
        ("data", str(settings.home)),
        ("threads", f"{plan.workers} for steps, {plan.builders} for sources and builds"),
        ("sources", "https and ssh" + (", " + ", ".join(also) if also else "; more with the --allow-… options")),
        ("images", f"pushed to {settings.destination}" if settings.destination else ""),
        ("submit", "slipway submit -q QUEUE -u https://… -E 'python train.py'   (in another terminal)" if url else ""),
        ("stop", "Ctrl-C; running jobs go on"),
    ]
    stdout().print(fields(rows))
    stdout().file.flush()


def _say_left(ports: Ports) -> None:
    left = len(ports.store.items(states=(State.STARTING, State.RUNNING), limit=COUNTED))
    if left:
        runs = "1 run goes" if left == 1 else f"{left if left < COUNTED else f'{COUNTED} or more'} runs go"
        note(f"{runs} on running; the next `slipway up` finds them again.")
