"""What the containers of a run's pods wrote, as lines: of one container as they are, of several with its name before.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#read-read-log-of-the-specified-pod
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slipway.adapters.kubernetes.api import Api, Stream
from slipway.adapters.kubernetes.kinds import POD
from slipway.errors import Invalid, NotFound, SlipwayError, Temporary

Pod = Mapping[str, Any]
LARGEST = 16 << 20
"""Bytes of each container's log that are kept for when its pod is gone."""
SILENCE = 300.0
"""Seconds that a followed container may say nothing, before its log is asked for anew."""
PAUSE = 1.0
"""Seconds between two looks for pods that have begun since."""


@dataclass(frozen=True, slots=True)
class _Container:
    namespace: str
    pod: str
    name: str
    previous: bool = False
    """The one before the last start: what ended, and was started again."""

    @property
    def path(self) -> str:
        return f"{POD.collection(self.namespace)}/{self.pod}/log"

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


def whole(api: Api, pods: Sequence[Pod]) -> bytes:
    """The same as a text, at most LARGEST bytes of each container."""
    several = _several(pods)
    told = [_marked(line, each, several=several) for each in _begun(pods) for line in _read(api, each, LARGEST)]
    return "".join(f"{line}\n" for line in told).encode()


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
                    for number, line in enumerate(
                        _read(self._api, container, follow=not container.previous, opened=self._opened)
                    ):
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
    found = []
    for pod in pods:
        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        for status in (pod.get("status") or {}).get("containerStatuses") or []:
            state = status.get("state") or {}
            if status.get("restartCount"):
                found.append(_Container(namespace, name, status["name"], previous=True))
            if state.get("running") or state.get("terminated"):
                found.append(_Container(namespace, name, status["name"]))
    return found


def _read(
    api: Api,
    container: _Container,
    largest: int | None = None,
    *,
    follow: bool = False,
    opened: Callable[[Stream], None] = lambda _: None,
) -> Iterator[str]:
    """Nothing of a container whose log is gone with it."""
    query = {**container.query, **({"limitBytes": str(largest)} if largest else {})}
    query |= {"follow": "true"} if follow else {}
    try:
        with api.stream(container.path, container.doing, silence=SILENCE, **query) as read:
            opened(read)
            for line in read:
                yield line.decode(errors="replace").removesuffix("\r")
    except (NotFound, Invalid):
        return


def _several(pods: Sequence[Pod]) -> bool:
    return sum(len((pod.get("spec") or {}).get("containers") or []) for pod in pods) > 1


def _marked(line: str, container: _Container, *, several: bool) -> str:
    return f"{container.pod}/{container.name} {line}" if several else line
