"""What a run looks like as arguments of `docker run` (S19). Pure: it reads no file and no environment.

A queue's config for `local-container` is the options of `docker run` by their own names
(https://docs.docker.com/reference/cli/docker/container/run/): a name of one letter is written `-x`, a longer one
`--name`; a list repeats the option; `true` is the bare flag.

`false` is where this is stricter than W&B Launch, which writes `--tty False`: Docker takes no separate word after a
flag, so it would read `False` as the name of the image to run. A boolean that is not a bare flag is written
`--tty=false`, which means the same to Docker whether the option is a flag or takes a value; and an option known to be a
flag takes nothing but a boolean, lest its value become the image.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping

from slipway.errors import Invalid, Problem
from slipway.model import Json, Launch

ITEM_LABEL = "slipway.item"
ATTEMPT_LABEL = "slipway.attempt"
SECRETS_LABEL = "slipway.secrets"
"""The references of the run's secrets, as a JSON list: what must be blacked out where the run's words are shown."""
OUTPUT = "/slipway/output"
"""Where the run's output folder is inside its container."""

_FLAGS = frozenset(
    {
        *("disable-content-trust", "i", "init", "interactive", "no-healthcheck", "oom-kill-disable", "P", "privileged"),
        *("publish-all", "q", "quiet", "read-only", "sig-proxy", "t", "tty", "use-api-socket"),
    }
)
_NOT_SENT = {
    "name": "a run is found again by the name that Slipway gives it",
    "rm": "Slipway reads the exit code and the log first, and then removes the container itself",
    "d": "a run is always detached, so that it outlives Slipway",
    "detach": "a run is always detached, so that it outlives Slipway",
}
"""Options that W&B's configs have and that mean nothing here: taken, and left out. `false` is refused."""
_RESERVED = {
    **{option: reason for option, reason in _NOT_SENT.items() if option != "name"},
    "cidfile": "a run is found by its name, not by a file",
    "h": "it would print a help text instead of running the job",
    "help": "it would print a help text instead of running the job",
}
_NAME = re.compile(r"[A-Za-z]|[a-z0-9][a-z0-9-]+")
_OF_THE_CLI = re.compile(
    r"(?i)PATH|HOME|TMPDIR|GO\w*|SSL_CERT_\w+|XDG_\w+|SSH_\w+|(https?|no|all)_proxy|(DOCKER|LD)_\w+"
)


def run_arguments(launch: Launch, *, output: str, secrets: Collection[str] = ()) -> list[str]:
    """The arguments after `docker`, the queue's options among them in their own order.

    `output` is the host's folder that becomes the run's output folder.

    `secrets` names the variables whose values are in the environment of the docker command itself: `-e NAME` takes them
    from there, so that no value is in a process list or on a disk. An entry of the queue's `env` that names a variable
    of Slipway's is left out: no queue changes which run a job takes itself for.

    Raises Invalid with every problem found.
    """
    problems = [*_image_problems(launch.image), *_secret_problems(secrets), *_problems(launch.resource_args)]
    if problems:
        raise Invalid(problems)
    plain = {name: value for name, value in launch.env.items() if name not in secrets}
    plain["SLIPWAY_OUTPUT_DIR"] = OUTPUT
    return [
        "run",
        "--detach",
        *("--name", launch.run.name),
        *("--label", f"{ITEM_LABEL}={launch.run.item_id}"),
        *("--label", f"{ATTEMPT_LABEL}={launch.run.attempt}"),
        *(["--label", f"{SECRETS_LABEL}={json.dumps(sorted(launch.secrets.values()))}"] if launch.secrets else []),
        *("--mount", _bind(output, OUTPUT)),
        *(word for name, value in plain.items() for word in ("-e", f"{name}={value}")),
        *(word for name in sorted(secrets) for word in ("-e", name)),
        *_options(launch.resource_args, {*plain, *secrets}),
        *_program(launch),
    ]


def left_out(resource_args: Mapping[str, Json]) -> tuple[str, ...]:
    """What of a config is taken and not passed on, and why."""
    return tuple(f"{name} is left out: {_NOT_SENT[name]}" for name in resource_args if name in _NOT_SENT)


def _options(resource_args: Mapping[str, Json], injected: Collection[str]) -> Iterator[str]:
    for name, value in resource_args.items():
        if name in _NOT_SENT:
            continue
        if name in ("e", "env"):
            for entry in _entries(value):
                if entry.partition("=")[0] not in injected:
                    yield from (_dashed(name), entry)
            continue
        for one in value if isinstance(value, list | tuple) else [value]:
            yield from _option(name, one)


def _option(name: str, value: Json) -> Iterator[str]:
    flag = _boolean(value) if name in _FLAGS else None
    if flag is True:
        yield _dashed(name)
    elif flag is False or isinstance(value, bool):
        yield f"{_dashed(name)}={_text(value)}"
    else:
        yield from (_dashed(name), _text(value))


def _dashed(name: str) -> str:
    return f"-{name}" if len(name) == 1 else f"--{name}"


def _entries(value: Json) -> list[str]:
    """The `env` option as `NAME=value`, or `NAME` for a variable of the machine that launches."""
    if isinstance(value, Mapping):
        return [str(name) if one is None else f"{name}={_text(one)}" for name, one in value.items()]
    return [value] if isinstance(value, str) else list(value)


def _text(value: Json) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _boolean(value: Json) -> bool | None:
    return {"true": True, "false": False}.get(_text(value).lower())


def _program(launch: Launch) -> list[str]:
    """The image and what runs in it. A command of arguments alone has no entry point: the image's own gets them."""
    if not launch.entry_point:
        return [launch.image, *launch.args]
    return ["--entrypoint", launch.command[0], launch.image, *launch.command[1:]]


def _bind(source: str, target: str) -> str:
    """A `--mount`, whose value Docker reads as one line of CSV: a comma or a quote in a folder's name is quoted."""
    field = f"source={source}"
    if any(sign in field for sign in ',"'):
        field = '"' + field.replace('"', '""') + '"'
    return f"type=bind,{field},target={target}"


def _image_problems(image: str) -> Iterator[Problem]:
    if not image or image.startswith("-"):
        yield Problem("image", "is not an image reference", image, "Use [registry/]name[:tag] or name@sha256:…")


def _secret_problems(secrets: Iterable[str]) -> Iterator[Problem]:
    for name in sorted(secrets):
        if not name or "=" in name:
            yield Problem("secrets", "a variable's name is not empty and has no '='", name)
        elif _OF_THE_CLI.fullmatch(name):
            yield Problem("secrets", "the docker command itself obeys this variable", name, "Give it another name")


def _problems(resource_args: Mapping[str, Json]) -> Iterator[Problem]:
    for name, value in resource_args.items():
        field = f"resource_args.{name}"
        if not _NAME.fullmatch(name):
            cure = f"Write {_dashless(name)!r}" if _NAME.fullmatch(_dashless(name)) else ""
            yield Problem(field, "is not the name of an option of `docker run`", name, cure)
        elif name == "name" or (name in _NOT_SENT and _boolean(value)):
            continue
        elif name in _RESERVED:
            yield Problem(field, f"is set by Slipway: {_RESERVED[name]}", value, "Leave it out")
        elif name in ("e", "env"):
            yield from _environment_problems(field, value)
        else:
            for one in value if isinstance(value, list | tuple) else [value]:
                yield from _value_problems(field, name, one)


def _dashless(name: str) -> str:
    return name.strip().lstrip("-").replace("_", "-").lower()


def _value_problems(field: str, name: str, value: Json) -> Iterator[Problem]:
    if value is None:
        yield Problem(field, "has no value", fix="Give it one, or leave the option out")
    elif isinstance(value, Mapping):
        yield Problem(field, "mapping values are not supported", value, "Use a string, a number, a boolean or a list")
    elif not isinstance(value, str | int | float):
        yield Problem(field, "a list holds strings, numbers or booleans", value)
    elif name in _FLAGS and _boolean(value) is None:
        yield Problem(field, "is a flag of `docker run`: true or false", value)
    elif name in ("l", "label") and _text(value).startswith("slipway."):
        yield Problem(field, "labels that start with 'slipway.' are Slipway's own", value, "Choose another prefix")
    elif "\0" in _text(value):
        yield Problem(field, "holds a NUL character, which no program can be given", value)


def _environment_problems(field: str, value: Json) -> Iterator[Problem]:
    shape = "is a mapping of names to values, a list of NAME=value or NAME, or one such string"
    if not isinstance(value, Mapping | list | tuple | str):
        yield Problem(field, shape, value)
    elif isinstance(value, Mapping):
        for name, one in value.items():
            if not isinstance(name, str) or not name or "=" in name or "\0" in name:
                yield Problem(field, "a variable's name is a string, not empty, without '='", name)
            elif not (one is None or isinstance(one, str | int | float)) or "\0" in str(one):
                yield Problem(f"{field}.{name}", "is a string, a number, a boolean or null, without NUL characters")
    else:
        for entry in [value] if isinstance(value, str) else value:
            if not isinstance(entry, str) or not entry or entry.startswith("=") or "\0" in entry:
                yield Problem(field, shape, None if isinstance(entry, str) else entry, "Write NAME=value, or NAME")
