"""The `docker` builder: images made by `docker build` on this machine, and pushed where a destination is set.

A build is a supervised command in a folder of its own, so that Slipway may be restarted meanwhile:

    <home>/builds/<image>-<attempt>/
        lock          held while the context is copied and the build started
        context/      a private copy, removed once the image is made
        Dockerfile    beside the context, so that the context stays what was hashed
        process/      the command, its log and its end (see `supervised.py`)

Pushing uses the registry logins of the user that runs Slipway (`docker login`).
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from slipway.adapters.local import docker
from slipway.adapters.local.lock import exclusive
from slipway.adapters.local.supervised import Phase, Status, Supervised
from slipway.errors import Invalid, Permanent, Problem, Refused, SlipwayError
from slipway.model import Build, BuildPhase, BuildRequest, BuildStatus
from slipway.ports import Registry

TAIL = 50
"""Lines of a failed build's log that are kept with the item."""

_BUILD_AND_PUSH = 'docker=$1 image=$2; shift 2; "$docker" build "$@" && exec "$docker" push "$image"'


class DockerBuilder:
    """Builds with BuildKit where the docker command has it, else with the classic builder."""

    def __init__(self, home: Path, *, destination: str | None = None, registry: Registry) -> None:
        """`destination`: the repository to push to, as `registry.example.com/team/jobs`; None leaves images in the
        engine's own store. `registry` answers for that place."""
        self._builds = home.absolute() / "builds"
        self._destination = destination and destination.removeprefix("https://").rstrip("/")
        self._registry = registry

    @property
    def cache_mounts(self) -> bool:
        """Exactly when a build that is started now uses BuildKit. Raises Temporary without an engine."""
        return _kit().cache_mounts

    def image(self, name: str, tag: str) -> str:
        """`<destination>:<tag>`, or `localhost/slipway/<name made safe>:<tag>`: were the image removed from this
        engine, a name without a host would be looked for on Docker Hub, where it could be anybody's."""
        return f"{self._destination or f'localhost/slipway/{_safe(name)}'}:{tag}"

    def registry(self) -> Registry:
        return self._registry

    def start(self, request: BuildRequest) -> BuildStatus:
        """As `Builder.start`. The context is copied before it returns; the same (image, attempt) is built once, however
        many ask, in however many processes. Raises Refused when the context cannot be copied for lack of room."""
        problems = list(_problems(request))
        if problems:
            raise Invalid(problems)
        folder = self._folder(request.image, request.attempt)
        process = Supervised(folder / "process")
        if process.status().phase is Phase.ABSENT:
            kit = _kit()
            with exclusive(folder / "lock"):
                if process.status().phase is Phase.ABSENT:
                    _prepare(folder, request)
                    process.start(
                        self._command(folder, request, kit.options),
                        env={**os.environ, **kit.environment},
                        cwd=folder,
                        label=f"image:{request.image}",
                    )
        return _judged(folder, process.status())

    def status(self, build: Build) -> BuildStatus:
        folder = self._folder(build.image, build.attempt)
        return _judged(folder, Supervised(folder / "process").status())

    def logs(self, build: Build) -> Iterator[str]:
        """What docker said, line by line; nothing of a build that was never started."""
        return Supervised(self._folder(build.image, build.attempt) / "process").logs()

    def _folder(self, image: str, attempt: int) -> Path:
        """Readable, and unique: two images whose safe names are the same differ in the digest."""
        return self._builds / f"{_safe(image)[:80]}-{hashlib.sha256(image.encode()).hexdigest()[:12]}-{attempt}"

    def _command(self, folder: Path, request: BuildRequest, options: Sequence[str]) -> list[str]:
        arguments = [*options, "--tag", request.image, "--file", str(folder / "Dockerfile")]
        if request.platform:
            arguments += ["--platform", request.platform]
        for name, value in sorted(request.build_args.items()):
            arguments += ["--build-arg", f"{name}={value}"]
        arguments.append(str(folder / "context"))
        if self._destination is None:
            return [docker.executable(), "build", *arguments]
        return ["/bin/sh", "-c", _BUILD_AND_PUSH, "slipway-build", docker.executable(), request.image, *arguments]


def _safe(name: str) -> str:
    """As a component of an image's name: lower-case letters and digits, single dashes, dots or underscores between."""
    words = re.sub(r"[^a-z0-9._-]+", "-", name.lower())
    return re.sub(r"[._-]*([._-])", r"\1", words)[:128].strip("._-") or "job"


def _problems(request: BuildRequest) -> Iterator[Problem]:
    if not request.image or request.image.startswith("-"):
        yield Problem("image", "is not an image reference", request.image)
    if not request.dockerfile.strip():
        yield Problem("dockerfile", "is empty, and the docker builder needs one")
    for name in request.build_args:
        if not name or "=" in name:
            yield Problem("build_args", "a name is not empty and holds no '='", name)


@dataclass(frozen=True, slots=True)
class _Kit:
    """How `docker build` is called: by which of its two builders, and what that one understands."""

    options: Sequence[str]
    environment: Mapping[str, str]
    cache_mounts: bool


def _kit() -> _Kit:
    """BuildKit where the docker command has it: as its buildx plug-in, or built in (before 23.0). A DOCKER_BUILDKIT
    that is set already decides. Raises Temporary without an engine."""
    client, _, server = docker.run("version", "--format", "{{.Client.Version}} {{.Server.Version}}").partition(" ")
    chosen, options = os.environ.get("DOCKER_BUILDKIT") or None, list[str]()
    if chosen is None:
        chosen = "1" if (0,) < _version(client) < (23,) else "0"
        if chosen == "0" and _has_buildx():
            # A buildx builder in a container of its own keeps the image to itself unless told to load it.
            chosen, options = "1", ["--load"]
    classic = chosen.lower() in ("0", "f", "false")
    if classic:
        # The classic builder leaves the container of a failed build behind unless told to remove it.
        options = ["--force-rm"]
    # The BuildKit inside older engines knows no RUN --mount.
    mounts = not classic and _version(server) >= (20, 10)
    return _Kit(options, {"DOCKER_BUILDKIT": chosen, "BUILDKIT_PROGRESS": "plain"}, mounts)


def _version(text: str) -> tuple[int, ...]:
    """Major and minor; (0,) of what is no version."""
    found = re.match(r"\s*(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0,)


def _has_buildx() -> bool:
    try:
        docker.run("buildx", "version")
    except SlipwayError:
        return False
    return True


def _prepare(folder: Path, request: BuildRequest) -> None:
    """Under the build's lock: what a crash left half-copied is copied anew."""
    source, context = Path(request.context), folder / "context"
    if not source.is_dir():
        raise Permanent(f"context: there is no folder {request.context}")
    try:
        shutil.rmtree(context, ignore_errors=True)
        shutil.copytree(source, context, symlinks=True)
        (folder / "Dockerfile").write_text(request.dockerfile, encoding="utf-8")
    except (OSError, UnicodeEncodeError) as error:
        raise Refused(f"{folder}: the build context cannot be copied: {error}") from error


def _judged(folder: Path, process: Status) -> BuildStatus:
    build = folder.name
    if process.phase is Phase.ABSENT:
        return BuildStatus(BuildPhase.ABSENT)
    if process.phase is Phase.RUNNING:
        return BuildStatus(BuildPhase.RUNNING, build)
    if process.exit_code == 0:
        shutil.rmtree(folder / "context", ignore_errors=True)
        return BuildStatus(BuildPhase.SUCCEEDED, build)
    tail = Supervised(folder / "process").tail(TAIL)
    if process.exit_code is None:
        reason = "its process disappeared: the machine restarted, or someone killed it"
    else:
        reason = f"docker ended with exit code {process.exit_code}"
    return BuildStatus(BuildPhase.FAILED, build, reason, tail)
