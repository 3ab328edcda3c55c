"""The threads that carry an item from submission to end, where a cloud would start functions.

    advance ×N   messages of the bus, in batches: each steps one item
    build ×M     messages that may fetch and hash for minutes, on threads of their own so that they hold up no step
    watch ×W     one per watcher: something changed, the items concerned look again
    tick         what is past its due time

Nothing polls: a thread waits in `Bus.receive` or `Watcher.changes` until it is woken, and comes up once a WAIT to see
whether it shall stop.

How long a step may take. A received message is invisible for VISIBILITY, the longest lease it can stand for (preparing
a source); a step that takes longer, such as starting a run whose image is pulled slowly, is delivered again to another
thread, which finds the lease and lets go. What stands behind a slow step in a batch is not held up for long either:
the tick steps the head of every line. A bug is logged with its traceback, its message tried again and in the
end put among the dead letters; no exception ends a thread.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

from slipway.errors import SlipwayError
from slipway.functions.deliver import delivered
from slipway.functions.observe import observe
from slipway.functions.tick import tick
from slipway.machine import PREPARE_LEASE
from slipway.model import State, Topic
from slipway.ports import Ports, Watcher

VISIBILITY = PREPARE_LEASE
BATCH = 10
WAIT = 1.0
"""Seconds until an idle thread looks whether it shall stop."""
ORPHANS = 60.0
"""Seconds between two looks for runs that nobody wants: each asks every backend, some of them over the network."""
PAUSE = 1.0
"""Seconds a thread keeps still after its own source of work failed (a locked database), rather than spin."""
PAGE = 200

log = logging.getLogger(__name__)


class Workers:
    """All threads of one process. `start` once, `stop` once."""

    def __init__(self, ports: Ports, *, advance: int = 2, build: int = 1, tick_seconds: float = 5.0) -> None:
        self._ports = ports
        self._stopping = threading.Event()
        self._watchers = list(ports.watchers())
        self._threads = [
            *(self._thread(f"advance-{n + 1}", self._receive, (Topic.SUBMIT, Topic.ADVANCE)) for n in range(advance)),
            *(self._thread(f"build-{n + 1}", self._receive, (Topic.BUILD,), 1) for n in range(build)),
            *(self._thread(f"watch-{type(each).__name__}", self._watch, each) for each in self._watchers),
            self._thread("tick", self._tick, tick_seconds),
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self, within: float) -> list[str]:
        """Takes in no more work and finishes what is in hand. The names of the threads not done in `within` seconds."""
        self._stopping.set()
        deadline = time.monotonic() + within
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        for watcher in self._watchers:
            watcher.close()
        return [thread.name for thread in self._threads if thread.is_alive()]

    def problems(self) -> list[str]:
        """Why this process is not ready for work; nothing when it is."""
        if self._stopping.is_set():
            return ["it is stopping"]
        return [f"thread {thread.name} is not running" for thread in self._threads if not thread.is_alive()]

    def _thread(self, name: str, run: Callable[..., None], *arguments: object) -> threading.Thread:
        return threading.Thread(target=run, args=arguments, name=name, daemon=True)

    def _receive(self, topics: Sequence[Topic], limit: int = BATCH) -> None:
        while not self._stopping.is_set():
            try:
                messages = self._ports.bus.receive(topics, limit=limit, wait=WAIT)
                self._ports.bus.ack([message for message in messages if delivered(message, self._ports)])
            except SlipwayError as error:
                self._trouble("bus: %s", error)

    def _watch(self, watcher: Watcher) -> None:
        while not self._stopping.is_set():
            try:
                for changed in watcher.changes(WAIT):
                    observe(changed, self._ports)
            except SlipwayError as error:
                self._trouble("watch: %s", error)
            except Exception:
                log.exception("watch failed in a way that nobody foresaw")
                self._stopping.wait(PAUSE)

    def _tick(self, seconds: float) -> None:
        self._guarded(lambda: catch_up(self._ports))
        asked = -ORPHANS
        while not self._stopping.wait(seconds):
            orphans = time.monotonic() >= asked + ORPHANS
            asked = time.monotonic() if orphans else asked
            self._guarded(partial(tick, self._ports, orphans=orphans))

    def _guarded(self, work: Callable[[], object]) -> None:
        try:
            work()
        except SlipwayError as error:
            self._trouble("tick: %s", error)
        except Exception:
            log.exception("tick failed in a way that nobody foresaw")

    def _trouble(self, text: str, error: SlipwayError) -> None:
        log.warning(text, error.message)
        self._stopping.wait(PAUSE)


def catch_up(ports: Ports) -> None:
    """Has every item looked at that was on its way when the last process ended: nobody told of what happened since."""
    before = None
    while page := ports.store.items(states=(State.BUILDING, State.STARTING, State.RUNNING), limit=PAGE, before=before):
        for item in page:
            ports.bus.send(Topic.ADVANCE, item.id)
        before = page[-1].id
