"""From the flags of `slipway submit` to a launch spec: the same document that an API client would send. Pure but for
reading the files that `-c` and `-R` name."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slipway.documents import check_json
from slipway.errors import Invalid, Problem
from slipway.model import Json, Queue
from slipway.template import coerce

_MAX_BYTES = 4 << 20
"""Of a file. The API has its own, smaller limit for what comes out of it."""


@dataclass(frozen=True, slots=True)
class Flags:
    """What was given on the command line; None and empty where nothing was."""

    uri: str | None = None
    git_version: str | None = None
    sha256: str | None = None
    docker_image: str | None = None
    queue: str | None = None
    entry_point: str | None = None
    dockerfile: str | None = None
    build_context: str | None = None
    priority: str | None = None
    entity: str | None = None
    project: str | None = None
    name: str | None = None
    args: Sequence[str] = ()


def launch_spec(config: Mapping[str, Json], resource_args: Mapping[str, Json] | None, flags: Flags) -> dict[str, Json]:
    """The config with the flags over it, flag by flag; of a config's `overrides`, what no flag names is kept."""
    spec: dict[str, Json] = dict(config)
    queue_entity, slash, queue = (flags.queue or "").rpartition("/")
    _put(spec, queue=queue, queue_entity=queue_entity if slash else None)
    _put(spec, uri=flags.uri, sha256=flags.sha256, build_context=flags.build_context)
    _put(spec, entity=flags.entity, project=flags.project, name=flags.name)
    _put(spec, resource_args=resource_args)
    if flags.priority is not None:
        spec["priority"] = int(flags.priority) if flags.priority.isdecimal() else flags.priority
    if flags.git_version:
        spec["git"] = {"version": flags.git_version}
    if flags.docker_image:
        spec["docker"] = {"docker_image": flags.docker_image}
    overrides = {
        "entry_point": _words(flags.entry_point) if flags.entry_point else None,
        "dockerfile": flags.dockerfile,
        "args": list(flags.args) or None,
    }
    given = {name: value for name, value in overrides.items() if value}
    if given:
        base = spec.get("overrides")
        spec["overrides"] = {**(base if isinstance(base, Mapping) else {}), **given}
    return spec


def assignments(pairs: Sequence[str]) -> dict[str, str]:
    """`["lr=0.1"]` → `{"lr": "0.1"}`. A value may hold further `=`. Raises Invalid with every pair that is none."""
    values, problems = dict[str, str](), list[Problem]()
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            problems.append(Problem("--set-var", "is not NAME=VALUE", pair))
        values[name.strip()] = value
    if problems:
        raise Invalid(problems)
    return values


def typed(values: Mapping[str, str], queue: Queue) -> dict[str, Json]:
    """Each text as a value of its variable's type. One of an unknown variable stays text: the queue refuses it."""
    known = queue.template_variables
    return {name: coerce(known[name], text) if name in known else text for name, text in values.items()}


def mapping(text: str, flag: str) -> dict[str, Any]:
    """What a flag holds: a JSON object as it stands, else the name of a JSON or YAML file. Raises Invalid."""
    if text.lstrip().startswith("{"):
        where, content = flag, text
    else:
        where, content = text, read(Path(text), flag)
    document = parse(content, where)
    check_json(document)
    if not isinstance(document, dict):
        raise Invalid(Problem(where, "must be a mapping of fields to values", document))
    return document


def read(path: Path, flag: str) -> str:
    """A file's text. Raises Invalid naming the flag."""
    try:
        content = path.expanduser().read_bytes()
    except OSError as error:
        raise Invalid(Problem(flag, f"cannot be read: {error.strerror}", str(path))) from error
    if len(content) > _MAX_BYTES:
        raise Invalid(Problem(flag, f"is larger than {_MAX_BYTES >> 20} MiB", str(path)))
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Invalid(Problem(flag, f"is not UTF-8: {error.reason} at byte {error.start}", str(path))) from error


def parse(content: str, where: str) -> Json:
    """JSON or YAML text as a value. Raises Invalid naming line and column."""
    try:
        return json.loads(content)
    except RecursionError as error:
        raise Invalid(Problem(where, "is nested too deeply")) from error
    except ValueError:
        pass  # YAML holds JSON too, and says better what is wrong with either
    import yaml

    try:
        return yaml.safe_load(content)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise Invalid(Problem(where, f"is neither JSON nor YAML: {error.problem or error.context}{place}")) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Invalid(Problem(where, f"is neither JSON nor YAML: {error}")) from error


def _put(spec: dict[str, Json], **values: Json) -> None:
    spec.update({name: value for name, value in values.items() if value})


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as error:
        raise Invalid(Problem("--entry-point", f"cannot be split into words: {error}", command)) from error
