"""A builder whose builds end when they are told to, and the registry they leave their images in."""

from __future__ import annotations

from threading import Lock

from slipway.model import Build, BuildPhase, BuildRequest, BuildStatus, Presence
from slipway.ports import Registry


class MemoryRegistry:
    """Image references in a set. A reference under `forbidden` is answered with "unauthorised". `user` is handed out to
    whoever pushes."""

    def __init__(
        self,
        images: set[str] | None = None,
        forbidden: tuple[str, ...] = (),
        user: tuple[str, str] | None = None,
    ) -> None:
        self.images = images if images is not None else set()
        self._forbidden = forbidden
        self._user = user

    def presence(self, image: str) -> Presence:
        if image.startswith(self._forbidden) and self._forbidden:
            return Presence.UNAUTHORISED
        return Presence.PRESENT if image in self.images else Presence.ABSENT

    def login(self, image: str) -> tuple[str, str] | None:
        return self._user


class MemoryBuilder:
    """Builds by name, in a dict. With `instant` a build succeeds as soon as it starts; otherwise `end` decides."""

    cache_mounts = False

    def __init__(
        self, registry: MemoryRegistry | None = None, *, instant: bool = False, destination: str | None = None
    ) -> None:
        self._destination = destination
        self._registry = registry or MemoryRegistry()
        self._instant = instant
        self._lock = Lock()
        self.builds: dict[tuple[str, int], BuildStatus] = {}
        self.started: list[BuildRequest] = []
        """Every build that was really started, in order."""

    def image(self, name: str, tag: str) -> str:
        return f"{self._destination or f'memory/{name}'}:{tag}"

    def registry(self) -> Registry:
        return self._registry

    def start(self, request: BuildRequest) -> BuildStatus:
        key = (request.image, request.attempt)
        with self._lock:
            if key not in self.builds:
                self.started.append(request)
                self.builds[key] = BuildStatus(BuildPhase.RUNNING, f"{request.image}#{request.attempt}")
        if self._instant:
            self.end(request.image, request.attempt)
        return self.builds[key]

    def status(self, build: Build) -> BuildStatus:
        return self.builds.get((build.image, build.attempt), BuildStatus(BuildPhase.ABSENT))

    def end(self, image: str, attempt: int = 1, *, failure: str | None = None) -> None:
        """The build is over: its image is there, or it failed with that as the last line of its log."""
        build_id = f"{image}#{attempt}"
        if failure is None:
            self._registry.images.add(image)
            self.builds[image, attempt] = BuildStatus(BuildPhase.SUCCEEDED, build_id)
        else:
            self.builds[image, attempt] = BuildStatus(BuildPhase.FAILED, build_id, "exit code 1", failure)
