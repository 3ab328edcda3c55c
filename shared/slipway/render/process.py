"""A local process as data, for `slipway plan`: the command, its variables, and the folder it starts in."""

from __future__ import annotations

from slipway.errors import Invalid, Problem
from slipway.model import Json, Launch


def command(launch: Launch) -> Json:
    """`{command, env, secrets, resource_args}`, where `secrets` maps a variable to its reference.

    Raises Invalid without a command."""
    if not launch.command:
        raise Invalid(Problem("overrides.entry_point", "is missing: a process needs something to run", fix="Give -E."))
    return {
        "command": list(launch.command),
        "env": dict(launch.env),
        "secrets": dict(launch.secrets),
        "resource_args": dict(launch.resource_args),
    }
