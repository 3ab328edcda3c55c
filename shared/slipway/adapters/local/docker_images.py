"""The Registry port over the local Docker engine's own store, for queues whose images are never pushed."""

from __future__ import annotations

from slipway.adapters.local import docker
from slipway.errors import NotFound
from slipway.model import Presence


class DockerImages:
    """An image is present when the engine can run it without pulling. Nobody is unauthorised here."""

    def presence(self, image: str) -> Presence:
        """See ports.Registry. Raises Temporary, with the cure, when no engine answers, and Permanent for a name that
        cannot be an image's."""
        try:
            docker.run("image", "inspect", "--format", "{{.Id}}", "--", image)
        except NotFound:
            return Presence.ABSENT
        return Presence.PRESENT

    def login(self, image: str) -> tuple[str, str] | None:
        """None: nothing is pushed here."""
        return None
