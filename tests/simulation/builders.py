"""A builder as vendors have them, and the registry it leaves images in: slow, failing, forgetful, and behind.

`Workshop` is the truth. `SimulatedBuilder` is an adapter for one that takes our names, or for one that gives its own
(Cloud Build): there it looks for our label before it creates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.simulation.calls import Calls, Port
from tests.simulation.scheduler import Scheduler

from slipway.errors import AlreadyExists
from slipway.model import Build, BuildPhase, BuildRequest, BuildStatus, Presence
from slipway.ports import Registry


@dataclass(frozen=True)
class Manners:
    """How this builder behaves, drawn from the seed."""

    takes_names: bool
    seconds: tuple[float, ...]
    fails: float
    vanishes: float
    """Of how many builds one is lost."""
    lag: float
    """Seconds for which the registry may say that a new image is not there."""


@dataclass
class BuildJob:
    number: int
    image: str
    attempt: int
    phase: BuildPhase = BuildPhase.RUNNING
    queued_until: float = 0.0

    @property
    def status(self) -> BuildStatus:
        build_id = f"build-{self.number}"
        if self.phase is BuildPhase.QUEUED:
            return BuildStatus(self.phase, build_id, "it builds others first")
        if self.phase is BuildPhase.FAILED:
            return BuildStatus(self.phase, build_id, "exit code 1", "no matching distribution")
        return BuildStatus(self.phase, build_id)


class Workshop:
    """The builds and the images that really exist. `created` and `ended` hear of each build."""

    def __init__(
        self,
        scheduler: Scheduler,
        calls: Calls,
        manners: Manners,
        created: Callable[[BuildJob], None],
        ended: Callable[[BuildJob], None],
    ) -> None:
        self.builds: list[BuildJob] = []
        self.images: dict[str, float] = {}
        """Image → since when it is there."""
        self.manners = manners
        self._scheduler = scheduler
        self._calls = calls
        self._created = created
        self._ended = ended

    # --- the vendor's interface
    def create(self, image: str, attempt: int) -> BuildJob:
        """Raises AlreadyExists where it takes our names and has this one."""
        if self.manners.takes_names and self.labelled(image, attempt) is not None:
            raise AlreadyExists(f"409: {image}#{attempt}")
        self._calls.refuse("a build")
        build = BuildJob(len(self.builds) + 1, image, attempt)
        seconds = self._scheduler.rng.choice(self.manners.seconds)
        if build.number % 3 == 0:
            build.phase, build.queued_until = BuildPhase.QUEUED, self._scheduler.now + seconds / 2
        self._created(build)
        self.builds.append(build)
        self._scheduler.after(seconds, lambda: self._end(build))
        return build

    def labelled(self, image: str, attempt: int) -> BuildJob | None:
        for build in reversed(self.builds):
            if (build.image, build.attempt) == (image, attempt) and build.phase is not BuildPhase.ABSENT:
                if build.phase is BuildPhase.QUEUED and self._scheduler.now >= build.queued_until:
                    build.phase = BuildPhase.RUNNING
                return build
        return None

    def presence(self, image: str) -> Presence:
        since = self.images.get(image)
        if since is None:
            return Presence.ABSENT
        lag = self.manners.lag
        if lag and self._scheduler.now - since < lag and self._scheduler.rng.random() < 0.5:
            self._scheduler.faults["stale answer about an image"] += 1
            worker = self._scheduler.current
            if worker is not None:
                worker.misled.add(image)
            return Presence.ABSENT
        return Presence.PRESENT

    def delete(self, image: str) -> None:
        """Someone cleans up."""
        self._scheduler.note(f"someone deletes the image {image}")
        self.images.pop(image, None)

    def _end(self, build: BuildJob) -> None:
        rng = self._scheduler.rng
        draw = rng.random()
        if draw < self.manners.vanishes:
            self._scheduler.faults["a build vanishes"] += 1
            build.phase = BuildPhase.ABSENT
        elif draw < self.manners.vanishes + self.manners.fails:
            self._scheduler.faults["a build fails"] += 1
            build.phase = BuildPhase.FAILED
        else:
            build.phase = BuildPhase.SUCCEEDED
            self.images.setdefault(build.image, self._scheduler.now)
        self._scheduler.note(f"the builder: build-{build.number} of {build.image} is {build.phase}")
        self._ended(build)


class SimulatedBuilder:
    """The adapter; also the registry, whose only question is asked of the same vendor."""

    cache_mounts = False

    def __init__(self, workshop: Workshop, calls: Calls) -> None:
        self._takes_names = workshop.manners.takes_names
        self._vendor: Any = Port(workshop, "workshop", calls)

    def image(self, name: str, tag: str) -> str:
        return f"registry.example.com/{name}:{tag}"

    def registry(self) -> Registry:
        return self

    def presence(self, image: str) -> Presence:
        presence: Presence = self._vendor.presence(image)
        return presence

    def start(self, request: BuildRequest) -> BuildStatus:
        return (self._named if self._takes_names else self._labelled)(request).status

    def status(self, build: Build) -> BuildStatus:
        found: BuildJob | None = self._vendor.labelled(build.image, build.attempt)
        return BuildStatus(BuildPhase.ABSENT) if found is None else found.status

    def _named(self, request: BuildRequest) -> BuildJob:
        try:
            build: BuildJob = self._vendor.create(request.image, request.attempt)
        except AlreadyExists:
            ours: BuildJob | None = self._vendor.labelled(request.image, request.attempt)
            if ours is None:
                raise
            return ours
        return build

    def _labelled(self, request: BuildRequest) -> BuildJob:
        ours: BuildJob | None = self._vendor.labelled(request.image, request.attempt)
        if ours is not None:
            return ours
        build: BuildJob = self._vendor.create(request.image, request.attempt)
        return build
