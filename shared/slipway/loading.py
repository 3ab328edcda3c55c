"""Names of adapters, "module:Class", become adapters: imported when first used, so that one loads what one uses."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from slipway.errors import Invalid, Problem, nearest


def load(where: str) -> Any:
    module, _, name = where.partition(":")
    return getattr(import_module(module), name)


def known(field: str, name: str, there: Mapping[str, object]) -> str:
    """The name. Raises Invalid where this deployment has none of that name."""
    if name not in there:
        raise Invalid(Problem(field, "this deployment has none of that name", name, nearest(name, there)))
    return name
