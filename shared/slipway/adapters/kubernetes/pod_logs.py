"""What the containers of a run's pods wrote, as lines: of one container as they are, of several with its name before.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#read-read-log-of-the-specified-pod
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from slipway.adapters.kubernetes.api import Api, Stream
from slipway.adapters.kubernetes.kinds import POD
from slipway.errors import Invalid, NotFound, Permanent, SlipwayError, Temporary

Pod = Mapping[str, Any]
LARGEST = 16 << 20
"""Bytes of a run's log that are kept for when its pods are gone."""
MOST_LINES = 20_000
"""Of each container's end, likewise."""
SILENCE = 300.0
"""Seconds that a followed container may say nothing, before its log is asked for anew."""
PATIENCE = 10.0
"""Seconds that the API server may take to give more of a log that is there."""
PAUSE = 1.0
"""Seconds between two looks for pods that have begun since."""


@dataclass(frozen=True, slots=True)
class _Container:
    """One start of a container."""

    namespace: str
    pod: str
    name: str
    restart: int
    """How often it had been started before."""
    previous: bool = field(default=False, compare=False)
    """It has ended, and was started again since. The kubelet keeps one such log."""

    @property
    def path(self) -> str:
        return f"{POD.path(self.namespace, self.pod)}/log"

    @property
    def query(self) -> dict[str, str]:
        return {"container": self.name, **({"previous": "true"} if self.previous else {})}

    @property
    def doing(self) -> str:
        return f"read the log of container {self.name} of pod {self.namespace}/{self.pod}"


def lines(api: Api, pods: Sequence[Pod]) -> Iterator[str]:
    """What has been written until now, pod by pod; before that of a container that was started again, what the one
    before it wrote."""
    several = _several(pods)
    for each in _begun(pods):
        for line in _read(api, each):
            yield _marked(line, each, several=several)


def ending(api: Api, pods: Sequence[Pod]) -> bytes:
    """The same as a text, where it is long the end of it: of each container, and of all together. What one container
    does not give keeps nothing of the others from being kept."""
    several = _several(pods)
    pieces: list[bytes] = []
    room = LARGEST
    for each in _begun(pods):
        told: list[str] = []
        with suppress(Permanent, Temporary):
            read = _read(api, each, tailLines=str(MOST_LINES), limitBytes=str(LARGEST))
            told += (_marked(line, each, several=several) for line in read)
        pieces.append("".join(f"{line}\n" for line in told).encode()[-room:])
        room -= len(pieces[-1])
        if not room:
            break
    return b"".join(pieces)


def followed(api: Api, pods: Callable[[], Sequence[Pod]], over: Callable[[], bool]) -> Iterator[str]:
    """As they are written, until the run is over and all its containers' logs have come to their ends. `pods` gives the
    run's pods as they are now: more may begin later."""
    following = _Following(api)
    try:
        while True:
            try:
                # Asked first: whatever a pod wrote before the end is then still to be read.
                ended, now = over(), pods()
            except Temporary:
                # The server is away; what it has is asked for when it is back.
                ended, now = False, ()
            following.add(_begun(now), several=_several(now))
            yield from following.until_quiet()
            if ended and not following.busy:
                yield from following.rest()
                return
    finally:
        following.close()


class _Following:
    """A thread for each container, and one queue of what they read."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._read: queue.SimpleQueue[str | SlipwayError | None] = queue.SimpleQueue()
        """Lines, and None for each container whose log has come to its end."""
        self._known: set[_Container] = set()
        self._closed = threading.Event()
        self._streams: list[Stream] = []
        self.busy = 0

    def add(self, containers: Sequence[_Container], *, several: bool) -> None:
        for each in containers:
            if each not in self._known:
                self._known.add(each)
                self.busy += 1
                threading.Thread(target=self._follow, args=(each, several), name="pod log", daemon=True).start()

    def until_quiet(self) -> Iterator[str]:
        """What comes, until nothing has for a moment."""
        while True:
            try:
                yield from self._taken(self._read.get(timeout=PAUSE if self.busy else PAUSE / 4))
            except queue.Empty:
                return
            if not self.busy:
                return

    def rest(self) -> Iterator[str]:
        while not self._read.empty():
            yield from self._taken(self._read.get())

    def close(self) -> None:
        """Nobody reads on: connections are given back at once."""
        self._closed.set()
        for stream in self._streams:
            stream.cut()

    def _opened(self, stream: Stream) -> None:
        self._streams.append(stream)
        if self._closed.is_set():
            stream.cut()

    def _lines(self, container: _Container) -> Iterator[str]:
        if container.previous:
            return _read(self._api, container)
        return _read(self._api, container, silence=SILENCE, opened=self._opened, follow="true")

    def _taken(self, each: str | SlipwayError | None) -> Iterator[str]:
        if each is None:
            self.busy -= 1
        elif isinstance(each, SlipwayError):
            raise each
        else:
            yield each

    def _follow(self, container: _Container, several: bool) -> None:
        """A stream that breaks off is begun again, and what of it has been read is passed over."""
        read = 0
        try:
            while not self._closed.is_set():
                try:
                    for number, line in enumerate(self._lines(container)):
                        if self._closed.is_set():
                            return
                        if number >= read:
                            read = number + 1
                            self._read.put(_marked(line, container, several=several))
                except Temporary:
                    self._closed.wait(PAUSE)
                else:
                    return
        except SlipwayError as error:
            self._read.put(error)
        finally:
            self._read.put(None)


def _begun(pods: Sequence[Pod]) -> list[_Container]:
    """Every start of which there is a log, in their order. Of init containers those that failed: what prepares a run
    has nothing to say when all is well."""
    found = []
    for pod in pods:
        namespace, name, status = pod["metadata"]["namespace"], pod["metadata"]["name"], pod.get("status") or {}
        failed = [each for each in status.get("initContainerStatuses") or [] if _failed(each)]
        for each in (*failed, *(status.get("containerStatuses") or [])):
            state, restarts = each.get("state") or {}, int(each.get("restartCount") or 0)
            if restarts:
                found.append(_Container(namespace, name, each["name"], restarts - 1, previous=True))
            if state.get("running") or state.get("terminated"):
                found.append(_Container(namespace, name, each["name"], restarts))
    return found


def _failed(status: Mapping[str, Any]) -> bool:
    states = [(status.get(which) or {}).get("terminated") or {} for which in ("state", "lastState")]
    return any(each.get("exitCode") for each in states)


def _read(
    api: Api,
    container: _Container,
    *,
    silence: float = PATIENCE,
    opened: Callable[[Stream], None] = lambda _: None,
    **query: str,
) -> Iterator[str]:
    """Nothing of a container whose log is gone with it."""
    try:
        asked = {**container.query, **query}
        with api.stream(container.path, container.doing, silence=silence, **asked) as read:
            opened(read)
            for line in read:
                yield line.decode(errors="replace").removesuffix("\r")
    except (NotFound, Invalid):
        return


def _several(pods: Sequence[Pod]) -> bool:
    return sum(len((pod.get("spec") or {}).get("containers") or []) for pod in pods) > 1


def _marked(line: str, container: _Container, *, several: bool) -> str:
    return f"{container.pod}/{container.name} {line}" if several else line
