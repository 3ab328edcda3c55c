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
from slipway.reference import not_a_reference

HOME = "/home/slipway"
"""Where the code lies in the image. Writable for group 0, so also under the arbitrary user ids of OpenShift."""
PIP_CACHE = "/dev/slipway-pip"
"""Where pip's cache is mounted. Under /dev, which is no part of an image: elsewhere older BuildKits leave the empty
folder that they mounted on, and the image would not be the one that is built without mounts."""


@dataclass(frozen=True, slots=True)
class Base:
    """What stands after FROM. An accelerator image brings no Python: it is installed with apt."""

    image: str
    accelerator: bool = False


@dataclass(frozen=True, slots=True)
class Starter:
    """A program of ours in Python that is put into the image, and becomes the job's command after what it has to do."""

    path: str
    """Where in the image, absolute."""
    text: str
    """Plain lines; it needs Python alone, and nothing that the job installs."""

    @property
    def words(self) -> tuple[str, ...]:
        """What stands before the command. No variable, site-packages or folder of the job's changes what it does."""
        return ("python3", "-I", "-S", self.path)


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
    *,
    entry_point: Sequence[str],
    needs: Dependencies,
    base: Base,
    python_version: str,
    user: str,
    cache_mounts: bool = False,
    starter: Starter | None = None,
) -> str:
    """The text: base, Python where it is missing, dependencies, code, user, entry point.

    `user` is numeric, `uid:gid`: there need be no such name in the base image. With `cache_mounts`, for BuildKit, what
    pip has downloaded or built is kept beside the image for the next build; the image that is made is the same.
    `starter` is put into the image; that the entry point goes through it is the caller's to say.
    """
    code = f"COPY --chown={user} . ."
    install = [*_install(needs, cache_mounts), *(_put(starter) if starter else [])]
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


def starting_images(text: str) -> tuple[str, ...]:
    """What a Dockerfile's FROM lines name, in their order and as they are written; its own stages are left out."""
    images: list[str] = []
    stages = set()
    for found in _FROM.finditer(_CONTINUED.sub(" ", text)):
        if found["image"].lower() not in stages and found["image"] not in images:
            images.append(found["image"])
        if found["stage"]:
            stages.add(found["stage"].lower())
    return tuple(images)


_CONTINUED = re.compile(r"\\[ \t]*\r?\n")
_FROM = re.compile(
    r"^[ \t]*FROM[ \t]+(?:--\S+[ \t]+)*(?P<image>\S+)(?:[ \t]+AS[ \t]+(?P<stage>\S+))?",
    re.IGNORECASE | re.MULTILINE,
)
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


def _install(needs: Dependencies, cache_mounts: bool) -> list[str]:
    if not needs:
        return []
    # In an image nobody else manages the packages, whatever the base image's distribution says (PEP 668).
    install = "PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install"
    if cache_mounts:
        install = f"--mount=type=cache,target={PIP_CACHE} {install} --cache-dir {PIP_CACHE}"
    else:
        install = f"{install} --no-cache-dir"
    return [f"RUN {install} {shlex.join(needs.arguments)}"]


def _put(starter: Starter) -> list[str]:
    """Its text as words of printf, which every shell and every builder takes: for COPY it would have to lie in the
    context, where `.dockerignore` may leave it out, and a heredoc needs BuildKit. The build tries whether it runs."""
    lines = " ".join(f"\\\n{_quoted(line)}" for line in starter.text.splitlines())
    put = f"mkdir -p {starter.path.rpartition('/')[0]} && printf '%s\\n' {lines} \\\n> {starter.path}"
    return [f"RUN {put} && {' '.join(starter.words)} python3 -c pass"]


def _quoted(line: str) -> str:
    return "'" + line.replace("'", "'\\''") + "'"


def _reference(value: Json, field: str) -> str:
    if not isinstance(value, str):
        raise Invalid(Problem(field, "must be a string, a Docker image reference", value))
    if rule := not_a_reference(value):
        raise Invalid(Problem(field, rule, value, "Write it as in `docker pull`: registry.example.com/team/image:tag"))
    return value
