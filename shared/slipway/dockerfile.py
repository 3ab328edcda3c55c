"""The Dockerfile that Slipway writes for a job that brings none, and the base image it starts from.

It needs no network when there is nothing to install, builds with the classic builder, BuildKit and Kaniko alike, and
asks of its base image only `sh`, `mkdir` and, with dependencies, `python3` with pip.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from slipway.dependencies import Dependencies
from slipway.errors import Invalid, Problem
from slipway.model import Json

HOME = "/home/slipway"
"""Where the code lies in the image. Writable for group 0, so also under the arbitrary user ids of OpenShift."""


@dataclass(frozen=True, slots=True)
class Base:
    """What stands after FROM. An accelerator image brings no Python: it is installed with apt."""

    image: str
    accelerator: bool = False


def base_image(config: Mapping[str, Json], python_version: str) -> Base:
    """The base image that a queue's `builder` section names, else Python's own slim image.

    `accelerator.base_image` (S6; also under W&B's older name `cuda`) goes before `base_image`.

    Raises:
        Invalid: it is not an image reference.
    """
    for section in ("accelerator", "cuda"):
        options = config.get(section)
        if options is None:
            continue
        if not isinstance(options, Mapping):
            raise Invalid(Problem(f"builder.{section}", "must be a mapping with the key base_image", options))
        if options.get("base_image") is not None:
            return Base(_reference(options["base_image"], f"builder.{section}.base_image"), accelerator=True)
    if config.get("base_image") is not None:
        return Base(_reference(config["base_image"], "builder.base_image"))
    return Base(f"python:{python_version}-slim")


def generated_dockerfile(
    *, entry_point: Sequence[str], needs: Dependencies, base: Base, python_version: str, user: str
) -> str:
    """The text: base, Python where it is missing, dependencies, code, user, entry point.

    `user` is numeric, `uid:gid`: there need be no such name in the base image.
    """
    code = f"COPY --chown={user} . ."
    install = _install(needs)
    if needs.whole_tree or not all(_PLAIN_PATH.fullmatch(file) for file in needs.files):
        steps = [code, *install]
    else:
        steps = [*(f"COPY {file} {file}" for file in needs.files), *install, code]
    lines = [
        f"FROM {base.image}",
        "USER 0:0",
        *(_python(python_version) if base.accelerator else []),
        "ENV PYTHONUNBUFFERED=1",
        f"ENV HOME={HOME}",
        f"RUN mkdir -p -m 0775 {HOME}",
        f"WORKDIR {HOME}",
        *steps,
        f"USER {user}",
        f"ENTRYPOINT {json.dumps(list(entry_point), ensure_ascii=False)}",
    ]
    return "\n".join(lines) + "\n"


_PLAIN_PATH = re.compile(r"[A-Za-z0-9_./-]+")
"""Of COPY's arguments: no space, variable or wildcard in it."""


def _python(version: str) -> list[str]:
    # A virtual environment, because Debian's own Python refuses packages from pip (PEP 668) and has no `python`.
    packages = f"python{version} libpython{version} python{version}-venv"
    return [
        "RUN apt-get update"
        f" && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends {packages}"
        " && rm -rf /var/lib/apt/lists/*"
        f" && python{version} -m venv /opt/venv",
        "ENV PATH=/opt/venv/bin:$PATH",
    ]


def _install(needs: Dependencies) -> list[str]:
    if not needs:
        return []
    # In an image nobody else manages the packages, whatever the base image's distribution says (PEP 668).
    arguments = shlex.join(needs.arguments)
    return [f"RUN PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install --no-cache-dir {arguments}"]


# The grammar of https://pkg.go.dev/github.com/distribution/reference, with sha256 as the only digest.
_PART = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_HOST = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_REFERENCE = re.compile(
    rf"(?:{_HOST}(?:\.{_HOST})*(?::[0-9]+)?/)?{_PART}(?:/{_PART})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)
_MAX_NAME = 255


def _reference(value: Json, field: str) -> str:
    if not isinstance(value, str):
        raise Invalid(Problem(field, "must be a string, a Docker image reference", value))
    if re.search(r"[\s#]", value):
        raise Invalid(Problem(field, "Docker image references cannot contain whitespace or '#'", value))
    name, at, digest = value.partition("@")
    if at and not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise Invalid(Problem(field, "the digest must be sha256: and 64 hex digits", value))
    if len(name) > _MAX_NAME or not _REFERENCE.fullmatch(value):
        fix = "Write it as in `docker pull`: registry.example.com/team/image:tag"
        raise Invalid(Problem(field, "is not a valid Docker image reference", value, fix))
    return value
