"""What an image is made of, and its name: a function of its contents.

Everything that decides the image, and nothing else, goes into one hash. So the same revision has the same image
whoever submits it and wherever it is built, the registry can be asked before anything is built, and two items
that want the same image meet at its name.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path

from slipway import context as contexts
from slipway import entrypoint
from slipway.context import Entry
from slipway.dependencies import dependencies
from slipway.dockerfile import Starter, base_image, generated_dockerfile
from slipway.errors import Invalid, NotFound, Permanent, Problem
from slipway.model import ImageSource, Job, Json

ENCODING = 1
"""The version of `inputs`. A change of what it holds, or how, is a new version, and with it every tag is new."""
TAG_DIGITS = 24
"""96 bits: even odds of one collision near 3 · 10¹⁴ images."""
ENVIRONMENT = "environment"
"""The builder of local-process jobs, which makes a virtual environment in place of an image and needs no Dockerfile."""
OWN_DOCKERFILE = "Dockerfile.wandb"
"""Used without being asked for when it lies beside the entry point's file, as in W&B Launch. A plain `Dockerfile` is
not: many repositories have one for something else."""


class Choice(StrEnum):
    """Whose Dockerfile it is."""

    JOB = "job"
    """The one that the job, or its submitter with -D, names."""
    BESIDE = "beside"
    """OWN_DOCKERFILE beside the entry point's file."""
    GENERATED = "generated"
    NONE = "none"
    """The builder needs none."""


@dataclass(frozen=True, slots=True)
class ImagePlan:
    """A build that could be started. What `inputs` names decides the image; the rest tells of it, or of its run."""

    builder: str
    context: Path
    """The folder on this disk that holds the entries."""
    entries: tuple[Entry, ...]
    entry_point: tuple[str, ...]
    """The job's, its file relative to the context, behind the words of what it is started through."""
    dockerfile: str = ""
    """The text; empty for a builder that needs none."""
    base_image: str = ""
    """Of a generated Dockerfile; empty otherwise."""
    build_args: Mapping[str, str] = field(default_factory=dict)
    platform: str | None = None
    """`linux/amd64`; None is the builder's own."""
    python_version: str | None = None
    """`3.11`; None where a Dockerfile of the job's own decides."""
    cached_dockerfile: str = ""
    """A generated Dockerfile once more, with cache mounts. They change nothing in the image, and so not its tag."""
    choice: Choice = Choice.NONE
    dockerfile_path: str = ""
    """Of a Dockerfile that lies in the source, relative to its build context."""
    user: str = ""
    """`uid:gid` of a generated Dockerfile, where it stands in the text."""

    def dockerfile_for(self, *, cache_mounts: bool) -> str:
        """The text to give to a builder that does, or does not, understand `RUN --mount=type=cache`."""
        return (self.cached_dockerfile if cache_mounts else "") or self.dockerfile

    @property
    def tag(self) -> str:
        """The source hash: 24 hex digits."""
        encoded = json.dumps(inputs(self), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(encoded.encode("ascii")).hexdigest()[:TAG_DIGITS]


def inputs(plan: ImagePlan) -> dict[str, Json]:
    """All that the tag is made from, as JSON: two plans have the same tag when these are equal."""
    return {
        "encoding": ENCODING,
        "builder": plan.builder,
        "dockerfile": plan.dockerfile,
        "base_image": plan.base_image,
        "build_args": dict(plan.build_args),
        "platform": plan.platform,
        "python_version": plan.python_version,
        "files": {entry.path: _described(entry) for entry in plan.entries},
    }


def plan(
    root: Path,
    job: Job,
    *,
    builder: str,
    config: Mapping[str, Json],
    default_python: str,
    user: str = "1000:0",
    starter: Starter | None = None,
) -> ImagePlan:
    """What to build for a job whose source lies in the folder `root`.

    `config` is the queue's `builder` section: `base_image`, `accelerator.base_image`, `platform`, `build-args`.
    `default_python` (`3.11`) is for jobs that name no version. `user` (`uid:gid`) is whom a generated image runs as,
    and `starter` what it is started through. Both stand in its Dockerfile, and so decide its tag.

    The Dockerfile is the first of: the job's `dockerfile`, `Dockerfile.wandb` beside the entry point's file (whose
    folder then is the context), a generated one.

    Raises:
        NotFound: the build context, the Dockerfile or the entry point's file is not in the tree.
        Permanent: there is nothing to run; the tree is empty or leads out of itself.
        Invalid: an option of `config`, the Python version or a dependency file is malformed.
    """
    root = _context(root, job)
    if builder == ENVIRONMENT:
        found = _entries(root)
        _require_entry_point(job, "")
        entrypoint.require(job.entry_point, root, found)
        dependencies(root, found)
        return ImagePlan(builder, root, found, job.entry_point, python_version=_python(job, default_python))
    build_args, platform = _build_args(config), _platform(config)
    if job.dockerfile is not None:
        return ImagePlan(
            builder,
            root,
            _entries(root),
            job.entry_point,
            _job_dockerfile(root, job.dockerfile),
            build_args=build_args,
            platform=platform,
            choice=Choice.JOB,
            dockerfile_path=job.dockerfile,
        )
    folder = entrypoint.folder(job.entry_point)
    own = str(folder / OWN_DOCKERFILE)
    beside = contexts.locate(root, own)
    if beside is not None:
        # Not the parent of `beside`: where it is a link, that is another folder.
        root = contexts.locate(root, str(folder)) or root
        return ImagePlan(
            builder,
            root,
            _entries(root),
            entrypoint.relative_to(job.entry_point, folder),
            _read(beside),
            build_args=build_args,
            platform=platform,
            choice=Choice.BESIDE,
            dockerfile_path=own,
        )
    _require_entry_point(job, ", or give a Dockerfile (-D)")
    found = _entries(root)
    entrypoint.require(job.entry_point, root, found)
    version = _python(job, default_python)
    base = base_image(config, version)
    entry_point = (*(starter.words if starter else ()), *job.entry_point)
    write = partial(
        generated_dockerfile,
        entry_point=entry_point,
        needs=dependencies(root, found),
        base=base,
        python_version=version,
        user=user,
        starter=starter,
    )
    return ImagePlan(
        builder,
        root,
        found,
        entry_point,
        write(),
        base.image,
        build_args,
        platform,
        version,
        cached_dockerfile=write(cache_mounts=True),
        choice=Choice.GENERATED,
        user=user,
    )


def name_of(job: Job) -> str:
    """The repository name of the job's images where no destination is set: `digits` for `https://host/team/digits.git`."""
    if isinstance(job.source, ImageSource):
        return "job"
    # Host and credentials are no part of a name; a query or fragment may be a signature.
    path = re.sub(r"^\w+://[^/]*", "", re.split("[?#]", job.source.uri)[0])
    return _docker_safe(re.split("[/:]", path.rstrip("/"))[-1]) or "job"


def _docker_safe(name: str) -> str:
    """Lower-case words with single separators between, as an image's repository must be; at most 128 characters."""
    bare = re.sub(r"\.(git|zip|tgz|tar(\.\w+)?)$", "", name.lower())
    return re.sub(r"[^a-z0-9]+", "-", bare)[:128].strip("-")


def _described(entry: Entry) -> str:
    kind = "executable" if entry.executable else entry.kind
    return f"{kind} {entry.content}"


def _context(root: Path, job: Job) -> Path:
    folder = contexts.locate(root, job.build_context or ".")
    if folder is None or not folder.is_dir():
        raise NotFound(
            f"Build context '{job.build_context or '.'}' not found in the source: there is no such folder. "
            "Give a folder of the source, relative to its root (--build-context)"
        )
    return folder


def _entries(root: Path) -> tuple[Entry, ...]:
    found = contexts.entries(root, contexts.read_ignore(root))
    if not found:
        raise Permanent("The build context is empty: the source has no files there, or .dockerignore leaves out all")
    return found


def _require_entry_point(job: Job, otherwise: str) -> None:
    if not job.entry_point:
        raise Permanent(f"The job has no entry point: say what to run, for example -E 'python train.py'{otherwise}")


def _job_dockerfile(root: Path, name: str) -> str:
    path = contexts.locate(root, name)
    if path is not None and path.is_file():
        return _read(path)
    there = sorted(file.name for file in root.iterdir() if "dockerfile" in file.name.lower() and file.is_file())
    known = f"There is: {', '.join(there)}" if there else "There is none at its root"
    raise NotFound(
        f"Dockerfile '{name}' not found in the build context: there is no such file. {known}. "
        "Its path is relative to the build context (-D)"
    )


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Permanent(f"The Dockerfile {path.name} cannot be read: {error}") from error


def _python(job: Job, default: str) -> str:
    version = job.python_version or default
    parsed = re.fullmatch(r"(3\.\d+)(?:\.\d+\S*)?", version)
    if parsed is None:
        raise Invalid(Problem("python_version", "must look like 3.11 or 3.11.4", version))
    return parsed[1]


def _platform(config: Mapping[str, Json]) -> str | None:
    platform = config.get("platform")
    if platform is None:
        return None
    if not isinstance(platform, str) or not re.fullmatch(r"[a-z0-9]+/[a-z0-9]+(?:/[a-z0-9]+)?", platform):
        raise Invalid(Problem("builder.platform", "must look like linux/amd64", platform))
    return platform


def _build_args(config: Mapping[str, Json]) -> Mapping[str, str]:
    given = config.get("build-args", config.get("build_args")) or {}
    if not isinstance(given, Mapping):
        raise Invalid(Problem("builder.build-args", "must be a mapping of names to values", given))
    wrong = [
        name for name, value in given.items() if isinstance(value, bool) or not isinstance(value, str | int | float)
    ]
    if wrong:
        rule = "must be a string or a number"
        raise Invalid([Problem(f"builder.build-args.{name}", rule, given[name]) for name in wrong])
    return {str(name): str(value) for name, value in given.items()}
