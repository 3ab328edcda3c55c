"""References of container images: `[host[:port]/]path[:tag][@sha256:digest]`."""

from __future__ import annotations

import re

# The grammar of https://pkg.go.dev/github.com/distribution/reference, with sha256 as the only digest.
_PART = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_HOST = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_REFERENCE = re.compile(
    rf"(?:{_HOST}(?:\.{_HOST})*(?::[0-9]+)?/)?{_PART}(?:/{_PART})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)
_MAX_NAME = 255


def not_a_reference(text: str) -> str:
    """The rule that the text breaks as a reference; "" where it is one."""
    if re.search(r"[\s#]", text):
        return "Docker image references cannot contain whitespace or '#'"
    name, at, digest = text.partition("@")
    if at and not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        return "the digest must be sha256: and 64 hex digits"
    if len(name) > _MAX_NAME or not _REFERENCE.fullmatch(text):
        return "is not a valid Docker image reference"
    return ""


def on_loopback(text: str) -> bool:
    """Whether its registry is on the loopback of whoever speaks to it, where plain HTTP is as good as any."""
    host = re.sub(r":[0-9]+$", "", text.partition("/")[0])
    return host in ("localhost", "[::1]") or re.fullmatch(r"127(?:\.[0-9]{1,3}){3}", host) is not None
