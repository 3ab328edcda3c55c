"""The resource args of `local-process`: what a queue may say about how its runs start."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from slipway.errors import Invalid, Problem, nearest
from slipway.model import Json

_KNOWN = ("cwd", "env")


@dataclass(frozen=True, slots=True)
class ProcessArgs:
    """`env` maps a variable to its value, or to None for the launching machine's."""

    env: Mapping[str, str | None]
    cwd: str

    @staticmethod
    def parse(args: Mapping[str, Json]) -> ProcessArgs:
        """`env`: an object, or a list of `NAME=value` and `NAME`; `cwd`: a folder in the source tree. Raises Invalid
        with every problem found."""
        problems = [
            Problem(f"resource_args.{key}", "is no resource arg of local-process", fix=nearest(key, _KNOWN))
            for key in args
            if key not in _KNOWN
        ]
        env: dict[str, str | None] = {}
        for name, value in _entries(args.get("env"), problems):
            if not name or "=" in name or "\0" in name:
                problems.append(Problem("resource_args.env", "a name is not empty and holds no '=' and no NUL", name))
            elif value is not None and "\0" in value:
                problems.append(Problem(f"resource_args.env.{name}", "a value holds no NUL"))
            else:
                env[name] = value
        cwd = args.get("cwd", ".")
        if not isinstance(cwd, str) or "\0" in cwd or _leaves(PurePosixPath(cwd)):
            problems.append(Problem("resource_args.cwd", "must be a relative folder inside the source tree", cwd))
        if problems:
            raise Invalid(problems)
        return ProcessArgs(env, cwd)

    def environment(self, machine: Mapping[str, str]) -> dict[str, str]:
        """The variables with values. One that the machine does not have either is left out, as `docker run -e` does."""
        env = {name: machine.get(name) if value is None else value for name, value in self.env.items()}
        return {name: value for name, value in env.items() if value is not None}


def _entries(env: Json, problems: list[Problem]) -> Iterable[tuple[str, str | None]]:
    if env is None:
        return
    if isinstance(env, Mapping):
        for name, value in env.items():
            if value is None or isinstance(value, str | int | float):
                yield str(name), _text(value)
            else:
                problems.append(Problem(f"resource_args.env.{name}", "must be text, a number, a boolean or null"))
    elif isinstance(env, list | tuple) and all(isinstance(entry, str) for entry in env):
        for entry in env:
            name, equals, value = entry.partition("=")
            yield name, value if equals else None
    else:
        problems.append(Problem("resource_args.env", "must be an object, or a list of NAME=value"))


def _text(value: Json) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return None if value is None else str(value)


def _leaves(path: PurePosixPath) -> bool:
    return path.is_absolute() or ".." in path.parts
