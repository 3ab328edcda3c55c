"""The builder that builds nothing, for a deployment whose jobs all come as images."""

from __future__ import annotations

from slipway.errors import Permanent
from slipway.model import Build, BuildPhase, BuildRequest, BuildStatus, Presence
from slipway.ports import Registry


class NoopBuilder:
    """Refuses every build, naming the cure (W&B Launch: "Attempted build with noop builder")."""

    cache_mounts = False

    def image(self, name: str, tag: str) -> str:
        return f"{name}:{tag}"

    def registry(self) -> Registry:
        return _Nothing()

    def start(self, request: BuildRequest) -> BuildStatus:
        raise Permanent(
            f"{request.image} would have to be built, and this queue's builder is noop. Submit a pre-built image "
            "(-d IMAGE), or install Docker or set `builder: {type: docker}` in the queue file"
        )

    def status(self, build: Build) -> BuildStatus:
        return BuildStatus(BuildPhase.ABSENT)


class _Nothing:
    def presence(self, image: str) -> Presence:
        return Presence.ABSENT

    def login(self, image: str) -> tuple[str, str] | None:
        return None
