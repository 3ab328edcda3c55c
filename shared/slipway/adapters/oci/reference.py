"""Image references: `registry/repository:tag@digest`, with Docker Hub's shorthand.

Grammar: https://pkg.go.dev/github.com/distribution/reference and, for what a registry's API takes,
https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from slipway.errors import Invalid, Problem

DOCKER_HUB = "docker.io"

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:.]+\])(?::[0-9]{{1,5}})?")
_MAX_NAME = 255


@dataclass(frozen=True, slots=True)
class Reference:
    """One image. `tag` and `digest` may both be None (which means the tag `latest`) and may both be there."""

    registry: str
    """Host, and port where one is given. Docker Hub is `docker.io`."""
    repository: str
    tag: str | None = None
    digest: str | None = None

    @property
    def manifest(self) -> str:
        """What the registry is asked for. A digest says more than a tag."""
        return self.digest or self.tag or "latest"

    @property
    def api_host(self) -> str:
        """Where the registry's API is, which for Docker Hub is another host than its name."""
        return "registry-1.docker.io" if self.registry == DOCKER_HUB else self.registry

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.registry}/{self.repository}{tag}{digest}"


def parse(image: str) -> Reference:
    """`image` taken apart, shorthand written out: `python:3` is `docker.io/library/python:3`.

    What stands before the first `/` is a registry when it holds a `.` or a `:`, or is `localhost`; otherwise the image
    is one of Docker Hub. Raises Invalid, naming the part that breaks its rule.
    """
    rest, at, digest = image.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise _wrong(image, "its digest must be an algorithm and at least 32 hexadecimal digits, as sha256:…")
    first, slash, remainder = rest.partition("/")
    if slash and (first == "localhost" or "." in first or ":" in first):
        registry, rest = first, remainder
    else:
        registry = DOCKER_HUB
    name, colon, tag = rest.partition(":")
    if colon and not _TAG.fullmatch(tag):
        raise _wrong(image, "its tag must be 1 to 128 letters, digits, '_', '.' and '-', and start with no '.' or '-'")
    if not _HOST.fullmatch(registry):
        raise _wrong(image, "its registry must be a host name and perhaps a port")
    if registry in ("index.docker.io", "registry-1.docker.io"):
        registry = DOCKER_HUB
    if registry == DOCKER_HUB and "/" not in name:
        name = f"library/{name}"
    if not _NAME.fullmatch(name) or len(registry) + 1 + len(name) > _MAX_NAME:
        raise _wrong(image, "its repository must be lower-case letters and digits, separated by '/', '.', '_' or '-'")
    return Reference(registry, name, tag or None, digest or None)


def _wrong(image: str, rule: str) -> Invalid:
    return Invalid(Problem("image", rule, image, "Write registry/repository:tag"))
