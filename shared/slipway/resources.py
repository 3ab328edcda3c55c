"""The resources by name: where a queue's runs go. Launch specs and queue files both name them, nested in two ways."""

from __future__ import annotations

from collections.abc import Mapping

from slipway.documents import Reader, join
from slipway.errors import Problem, nearest
from slipway.model import Json

RESOURCES = ("local-container", "local-process", "kubernetes", "sagemaker", "gcp-vertex")
ALIASES = {"local": "local-container", "vertex": "gcp-vertex"}
"""Older names that W&B's own agent still understands."""


def resource_named(word: str) -> str | None:
    """The resource that a word means, None for a word that means none."""
    name = ALIASES.get(word, word)
    return name if name in RESOURCES else None


def read_resource(reader: Reader) -> str | None:
    """The field `resource`."""
    word = reader.text("resource")
    if word is None:
        return None
    name = resource_named(word)
    if name is None:
        reader.problem("resource", "is not a resource", word, nearest(word, RESOURCES))
    return name


def unwrap(args: Mapping[str, Json], path: str, problems: list[Problem]) -> tuple[str | None, Mapping[str, Json]]:
    """`{<resource>: {...}}` or the bare `{...}`: the resource it names (None when bare) and the mapping inside."""
    named = [key for key in args if resource_named(key)]
    if not named:
        return None, args
    key = named[0]
    if len(args) > 1:
        rest = ", ".join(repr(other) for other in args if other != key)
        problems.append(
            Problem(path, f"has '{key}' beside {rest}", fix=f"Put everything inside '{key}', for one resource.")
        )
    inner = args[key]
    if inner is not None and not isinstance(inner, Mapping):
        problems.append(Problem(join(path, key), "must be a mapping", inner))
        inner = None
    return resource_named(key), inner or {}
