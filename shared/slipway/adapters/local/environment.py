"""The builder of local-process jobs: one virtual environment per source hash, where a container job has an image.

    <home>/environments/<tag>/    src/  venv/  ready      the "image" `env:<home>/environments/<tag>`
    <home>/builds/env-<tag>-<attempt>/                    one try: order.json, the context until it is moved to src/,
                                                          and in process/ the supervised build with its log

An environment is there once it has the file `ready`, which is written last. Whatever else is found is the rest of a
build that was cut short, and the next attempt removes it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from slipway import context as contexts
from slipway.adapters.local.lock import exclusive
from slipway.adapters.local.supervised import Phase, Supervised
from slipway.dependencies import dependencies
from slipway.dockerignore import Ignore
from slipway.errors import Permanent, Temporary
from slipway.model import Build, BuildPhase, BuildRequest, BuildStatus, Presence

_MAKER = str(Path(__file__).with_name("make_environment.py"))
_LOG_LINES = 50


def find_uv(environ: Mapping[str, str]) -> str | None:
    """Where uv is: on PATH, or beside this Python."""
    beside = Path(sys.executable).with_name("uv")
    return shutil.which("uv", path=environ.get("PATH", "")) or (str(beside) if beside.exists() else None)


class EnvironmentBuilder:
    """A `ports.Builder`. `environ` is the machine's; where `uv` finds none, it is done with venv and pip."""

    cache_mounts = False

    def __init__(
        self,
        home: Path,
        environ: Mapping[str, str] = os.environ,
        uv: Callable[[Mapping[str, str]], str | None] = find_uv,
    ) -> None:
        self._home = home.absolute()
        self._environ = environ
        self._find_uv = uv
        self._registry = EnvironmentRegistry(home)

    def image(self, name: str, tag: str) -> str:
        """`env:` and the folder. The job's name is no part of it: jobs with the same source share it."""
        return f"env:{_environments(self._home) / tag}"

    def registry(self) -> EnvironmentRegistry:
        return self._registry

    def start(self, request: BuildRequest) -> BuildStatus:
        """Beyond `ports.Builder`: Permanent when no Python of the wanted version is to be had."""
        build = Build(request.image, "environment", request.attempt)
        tag = _tag(request.image, self._home)
        if self._registry.presence(request.image) is Presence.PRESENT:
            return self._succeeded(build)
        folder = self._folder(build)
        try:
            with exclusive(folder.parent / f".env-{tag}.lock"):
                if not folder.exists():
                    self._prepare(folder, tag, request)
        except OSError as error:
            raise Temporary(f"{folder}: the build cannot be prepared: {error}") from error
        Supervised(folder / "process").start(
            [sys.executable, "-I", _MAKER, str(folder / "order.json")],
            env=_passed_on(self._environ),
            cwd=folder,
            label=f"image:{request.image}",
        )
        return self.status(build)

    def status(self, build: Build) -> BuildStatus:
        folder = self._folder(build)
        process = Supervised(folder / "process")
        now = process.status()
        # Looked at after the process: it cannot finish unnoticed between the two.
        if self._registry.presence(build.image) is Presence.PRESENT:
            return self._succeeded(build)
        if now.phase is Phase.ABSENT:
            return BuildStatus(BuildPhase.ABSENT)
        if now.phase is Phase.RUNNING:
            return BuildStatus(BuildPhase.RUNNING, folder.name)
        if now.phase is Phase.LOST:
            reason = "the build disappeared: its process was killed, or the machine restarted"
        elif now.exit_code == 0:
            reason = "the environment was made, and has been removed since"
        else:
            reason = f"the environment could not be made: exit code {now.exit_code}"
        return BuildStatus(BuildPhase.FAILED, folder.name, reason, process.tail(_LOG_LINES))

    def logs(self, build: Build) -> Iterator[str]:
        """What the installers said, line by line; nothing of a build that was never started."""
        return Supervised(self._folder(build) / "process").logs()

    def _folder(self, build: Build) -> Path:
        return self._home / "builds" / f"env-{_tag(build.image, self._home)}-{build.attempt}"

    def _succeeded(self, build: Build) -> BuildStatus:
        return BuildStatus(BuildPhase.SUCCEEDED, self._folder(build).name)

    def _prepare(self, folder: Path, tag: str, request: BuildRequest) -> None:
        """Makes the build's folder, whole or not at all. One at a time, under the lock."""
        draft = folder.with_name(f".{folder.name}")
        shutil.rmtree(draft, ignore_errors=True)
        # What the planner chose is all that lies in the context: nothing is left to ignore.
        chosen = contexts.entries(Path(request.context), Ignore())
        contexts.copy(chosen, Path(request.context), draft / "context")
        uv = self._find_uv(self._environ)
        order: dict[str, Any] = {
            "environment": str(_environments(self._home) / tag),
            "lock": str(_environments(self._home) / f".{tag}.lock"),
            "context": str(folder / "context"),
            "uv": uv,
            "python": _find_python(request.python_version, uv, self._environ),
            "arguments": dependencies(draft / "context", chosen).arguments,
        }
        (draft / "order.json").write_text(json.dumps(order), "utf-8")
        _environments(self._home).mkdir(mode=0o700, parents=True, exist_ok=True)
        draft.rename(folder)


class EnvironmentRegistry:
    """A `ports.Registry` over the folder of environments."""

    def __init__(self, home: Path) -> None:
        self._home = home.absolute()

    def presence(self, image: str) -> Presence:
        ready = _environments(self._home) / _tag(image, self._home) / "ready"
        return Presence.PRESENT if ready.exists() else Presence.ABSENT

    def login(self, image: str) -> tuple[str, str] | None:
        """None: nothing is pushed here."""
        return None


def _environments(home: Path) -> Path:
    return home / "environments"


def _tag(image: str, home: Path) -> str:
    start, slash, tag = image.rpartition("/")
    if start + slash != f"env:{_environments(home)}/" or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", tag):
        raise Permanent(
            f"image {image!r}: not an environment of this machine, which are env:{_environments(home)}/<tag>"
        )
    return tag


_PASSED_ON = re.compile(
    # Where things are, and in which language
    r"PATH|HOME|LANG|LC_\w+|TZ|TMPDIR|XDG_\w+|NETRC"
    # The installers' own settings
    r"|PIP_\w+|UV_\w+"
    # How to reach a package index, and whom to trust
    r"|(?i:\w+_proxy)|SSL_CERT_FILE|SSL_CERT_DIR|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|GIT_SSL_CAINFO"
)


def _passed_on(environ: Mapping[str, str]) -> dict[str, str]:
    """What an installer needs of the environment. Not the rest: packages run code of their own while they are built."""
    return {name: value for name, value in environ.items() if _PASSED_ON.fullmatch(name)}


def _find_python(version: str | None, uv: str | None, environ: Mapping[str, str]) -> str:
    if version in (None, f"{sys.version_info.major}.{sys.version_info.minor}"):
        return sys.executable
    if uv is not None:
        return str(version)
    found = shutil.which(f"python{version}", path=environ.get("PATH", ""))
    if found is None:
        raise Permanent(
            f"python_version {version}: there is no python{version} on PATH. Install it, or uv, which fetches it"
        )
    return found
