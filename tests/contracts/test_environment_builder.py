"""Virtual environments as images: the builder contract, and what is particular to them."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.conditions import eventually
from tests.contracts.builder_contract import FAREWELL, BuilderContract, MakeFailingRequest, MakeRequest
from tests.contracts.registry_contract import RegistryContract

from slipway.adapters.local.environment import EnvironmentBuilder, EnvironmentRegistry, find_uv
from slipway.adapters.local.supervised import Supervised
from slipway.errors import Permanent, Temporary
from slipway.model import Build, BuildPhase, BuildRequest, BuildStatus, Presence

# A package that brings its own build backend: it is installed with no network.
PACKAGE = """
[project]
name = "tiny"
version = "1.0"
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""
MAKES_A_WHEEL = """
import zipfile
META = "tiny-1.0.dist-info/"
def build_wheel(folder, config_settings=None, metadata_directory=None):
    with zipfile.ZipFile(f"{folder}/tiny-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny.py", "words = 'hello from tiny'")
        wheel.writestr(META + "METADATA", "Metadata-Version: 2.1\\nName: tiny\\nVersion: 1.0\\n")
        wheel.writestr(META + "WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(META + "RECORD", "")
    return "tiny-1.0-py3-none-any.whl"
"""
FAILS = f"""
def build_wheel(folder, config_settings=None, metadata_directory=None):
    raise SystemExit({FAREWELL!r})
"""
NEVER_ENDS = """
import pathlib, signal
def build_wheel(folder, config_settings=None, metadata_directory=None):
    pathlib.Path("begun").write_text(str(__import__("os").getpid()))
    signal.pause()
"""
NO_NETWORK = {"PIP_NO_INDEX": "1", "UV_NO_INDEX": "1"}


def with_package(backend: str) -> dict[str, str]:
    return {
        "train.py": "import tiny; print(tiny.words)",
        "requirements.txt": "./tiny\n",
        "tiny/pyproject.toml": PACKAGE,
        "tiny/backend.py": backend,
    }


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def builder(home: Path) -> Iterator[EnvironmentBuilder]:
    yield EnvironmentBuilder(home, os.environ | NO_NETWORK)
    for build in home.glob("builds/*/process"):
        Supervised(build).stop(grace=0.0)


@pytest.fixture
def with_uv(home: Path) -> EnvironmentBuilder:
    if find_uv(os.environ) is None:
        missing = pytest.fail if "CI" in os.environ else pytest.skip
        missing("uv is not installed")
    return EnvironmentBuilder(home, os.environ | NO_NETWORK)


@pytest.fixture
def with_pip(home: Path) -> EnvironmentBuilder:
    return EnvironmentBuilder(home, os.environ | NO_NETWORK, uv=lambda _: None)


@pytest.fixture
def request_(home: Path, tmp_path: Path) -> MakeRequest:
    def make(files: dict[str, str], **changes: object) -> BuildRequest:
        tag = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()[:24]
        context = tmp_path / f"context-{tag}"
        for path, text in files.items():
            (context / path).parent.mkdir(parents=True, exist_ok=True)
            (context / path).write_text(text)
        plain = BuildRequest(f"env:{home}/environments/{tag}", 1, str(context), dockerfile="")
        return replace(plain, **changes)  # type: ignore[arg-type]

    return make


class TestEnvironmentBuilder(BuilderContract):
    kind = "environment"

    @pytest.fixture
    def builder(self, builder: EnvironmentBuilder) -> EnvironmentBuilder:
        return builder

    @pytest.fixture
    def fresh_builder(self, home: Path) -> EnvironmentBuilder:
        return EnvironmentBuilder(home, os.environ | NO_NETWORK)

    @pytest.fixture
    def request_(self, request_: MakeRequest) -> MakeRequest:
        return request_

    @pytest.fixture
    def failing_request(self, request_: MakeRequest) -> MakeFailingRequest:
        return lambda: request_(with_package(FAILS))

    def times_built(self, builder: object, request: BuildRequest) -> int:
        return log_of(request).count(" venv ")


def test_uv_installs_what_the_tree_asks_for(with_uv: EnvironmentBuilder, request_: MakeRequest) -> None:
    request = request_(with_package(MAKES_A_WHEEL))
    assert ended(with_uv, request).phase is BuildPhase.SUCCEEDED, log_of(request)
    assert output_of(request, "train.py") == "hello from tiny"


def test_pip_does_where_there_is_no_uv(with_pip: EnvironmentBuilder, request_: MakeRequest) -> None:
    request = request_(with_package(MAKES_A_WHEEL))
    assert ended(with_pip, request).phase is BuildPhase.SUCCEEDED, log_of(request)
    assert output_of(request, "train.py") == "hello from tiny"


def test_an_environment_without_dependencies_needs_no_pip(with_pip: EnvironmentBuilder, request_: MakeRequest) -> None:
    request = request_({"train.py": "import sys; print(sys.prefix)"})
    assert ended(with_pip, request).phase is BuildPhase.SUCCEEDED, log_of(request)
    assert output_of(request, "train.py") == str(folder_of(request) / "venv")
    assert not list(folder_of(request).glob("venv/lib/python*/site-packages/pip"))


def test_the_dependencies_of_pyproject_are_installed(with_uv: EnvironmentBuilder, request_: MakeRequest) -> None:
    files = with_package(MAKES_A_WHEEL)
    del files["requirements.txt"]
    wish = "tiny @ file:./tiny"
    request = request_(files | {"pyproject.toml": f"[project]\nname = 'job'\nversion = '1'\ndependencies = ['{wish}']"})
    assert ended(with_uv, request).phase is BuildPhase.SUCCEEDED, log_of(request)
    assert output_of(request, "train.py") == "hello from tiny"


def test_what_uv_cannot_install_pip_may(
    with_uv: EnvironmentBuilder, home: Path, request_: MakeRequest, tmp_path: Path
) -> None:
    """uv reads none of pip's settings: here pip alone is told where the package lies."""
    links = tmp_path / "links"
    links.mkdir()
    exec(MAKES_A_WHEEL, names := {})
    names["build_wheel"](links)
    builder = EnvironmentBuilder(home, os.environ | NO_NETWORK | {"PIP_FIND_LINKS": str(links)})
    request = request_({"train.py": "import tiny; print(tiny.words)", "requirements.txt": "tiny==1.0"})
    assert ended(builder, request).phase is BuildPhase.SUCCEEDED, log_of(request)
    assert "Trying pip" in log_of(request)


def test_the_log_of_a_build_is_kept(builder: EnvironmentBuilder, request_: MakeRequest) -> None:
    request = request_({"train.py": "print(1)"})
    build = Build(request.image, "environment", request.attempt)
    assert list(builder.logs(build)) == []
    builder.start(request)
    eventually(lambda: builder.status(build).phase is BuildPhase.SUCCEEDED, within=60.0)
    assert eventually(lambda: [line for line in builder.logs(build) if line.startswith("made ")])


def test_the_source_lies_beside_its_environment(builder: EnvironmentBuilder, request_: MakeRequest) -> None:
    request = request_({"deep/er/data.txt": "x", "train.py": "print(1)"})
    (Path(request.context) / "train.py").chmod(0o700)
    (Path(request.context) / "link").symlink_to("deep/er")
    assert ended(builder, request).phase is BuildPhase.SUCCEEDED, log_of(request)
    src = folder_of(request) / "src"
    assert (src / "link" / "data.txt").read_text() == "x"
    assert (src / "train.py").stat().st_mode & 0o777 == 0o755
    assert (src / "deep" / "er" / "data.txt").stat().st_mode & 0o777 == 0o644


def test_a_half_made_environment_is_not_present_and_the_next_attempt_starts_clean(
    builder: EnvironmentBuilder, request_: MakeRequest
) -> None:
    request = request_({"train.py": "print(1)"})
    rest = folder_of(request) / "src" / "rest.txt"
    rest.parent.mkdir(parents=True)
    rest.write_text("of a build that was cut short")
    assert builder.registry().presence(request.image) is Presence.ABSENT
    assert ended(builder, request).phase is BuildPhase.SUCCEEDED, log_of(request)
    assert not rest.exists()


def test_a_failed_build_leaves_no_environment_behind(builder: EnvironmentBuilder, request_: MakeRequest) -> None:
    request = request_(with_package(FAILS))
    assert ended(builder, request).phase is BuildPhase.FAILED
    assert not folder_of(request).exists()


def test_a_build_whose_process_was_killed_has_disappeared_and_the_next_attempt_succeeds(
    builder: EnvironmentBuilder, home: Path, request_: MakeRequest
) -> None:
    request = request_(with_package(NEVER_ENDS))
    builder.start(request)
    eventually(lambda: builder.status(build_of(request)).phase is BuildPhase.RUNNING and "install" in log_of(request))
    started = json.loads(next(home.glob("builds/*/process/started.json")).read_text())
    os.kill(started["supervisor"][0], signal.SIGKILL)
    os.killpg(started["job"][0], signal.SIGKILL)
    status = eventually(lambda: over(builder, request))
    assert status.phase is BuildPhase.FAILED
    assert "disappeared" in status.reason
    assert builder.registry().presence(request.image) is Presence.ABSENT
    again = request_({"train.py": "print(1)"}, image=request.image, attempt=2)
    assert ended(builder, again).phase is BuildPhase.SUCCEEDED, log_of(again)


def test_of_racing_processes_one_builds(home: Path, builder: EnvironmentBuilder, request_: MakeRequest) -> None:
    request = request_({"train.py": "print(1)"})
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from slipway.adapters.local.environment import EnvironmentBuilder\nfrom slipway.model import BuildRequest\n"
        "sys.stdin.readline()\n"
        "print(EnvironmentBuilder(Path(sys.argv[1])).start(BuildRequest(sys.argv[2], 1, sys.argv[3], '')).phase)"
    )
    command = [sys.executable, "-c", program, str(home), request.image, request.context]
    racers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    answers = [racer.communicate()[0].strip() for racer in racers]
    assert set(answers) <= {"running", "succeeded"}
    assert ended(builder, request).phase is BuildPhase.SUCCEEDED
    assert log_of(request).count(" venv ") == 1


def test_two_attempts_at_once_make_one_environment(builder: EnvironmentBuilder, request_: MakeRequest) -> None:
    first = request_({"train.py": "print(1)"})
    second = replace(first, attempt=2)
    builder.start(first)
    builder.start(second)
    assert ended(builder, first).phase is ended(builder, second).phase is BuildPhase.SUCCEEDED
    eventually(lambda: not list(folder_of(first).parents[1].glob("builds/*/context")))
    assert (folder_of(first) / "src" / "train.py").exists()


def test_the_installers_see_nothing_of_the_environment_that_is_not_theirs(home: Path, request_: MakeRequest) -> None:
    spy = MAKES_A_WHEEL.replace("import zipfile", "import os, zipfile\nprint(dict(os.environ))\nassert not SEEN")
    spy = spy.replace("SEEN", "[name for name in os.environ if 'TOKEN' in name]")
    environ = os.environ | NO_NETWORK | {"CLOUD_TOKEN": "s3cr3t"}
    builder = EnvironmentBuilder(home, environ)
    request = request_(with_package(spy))
    assert ended(builder, request).phase is BuildPhase.SUCCEEDED, log_of(request)


def test_a_python_that_is_not_there_is_refused_at_once(with_pip: EnvironmentBuilder, request_: MakeRequest) -> None:
    request = request_({"train.py": "print(1)"}, python_version="3.99")
    with pytest.raises(Permanent, match=r"python_version 3\.99.*python3\.99"):
        with_pip.start(request)
    assert with_pip.status(build_of(request)).phase is BuildPhase.ABSENT


@pytest.mark.parametrize("image", ["python:3.11", "env:/elsewhere/environments/abc", "env:{home}/environments/../x"])
def test_only_environments_of_this_machine_are_known(home: Path, image: str) -> None:
    with pytest.raises(Permanent, match="not an environment of this machine"):
        EnvironmentRegistry(home).presence(image.format(home=home))


def test_a_full_or_broken_disk_is_temporary(tmp_path: Path, request_: MakeRequest) -> None:
    (tmp_path / "data").write_text("a file where the folder should be")
    request = request_({"train.py": "print(1)"})
    with pytest.raises(Temporary):
        EnvironmentBuilder(tmp_path / "data").start(request)


def ended(builder: EnvironmentBuilder, request: BuildRequest) -> BuildStatus:
    builder.start(request)
    return eventually(lambda: over(builder, request), within=60.0)


def over(builder: EnvironmentBuilder, request: BuildRequest) -> BuildStatus | None:
    status = builder.status(build_of(request))
    return status if status.phase in (BuildPhase.SUCCEEDED, BuildPhase.FAILED) else None


def build_of(request: BuildRequest) -> Build:
    return Build(request.image, "environment", request.attempt)


def folder_of(request: BuildRequest) -> Path:
    return Path(request.image.removeprefix("env:"))


def log_of(request: BuildRequest) -> str:
    final = folder_of(request)
    log = final.parents[1] / "builds" / f"env-{final.name}-{request.attempt}" / "process" / "log"
    return log.read_text() if log.exists() else ""


def output_of(request: BuildRequest, script: str) -> str:
    folder = folder_of(request)
    python = folder / "venv" / "bin" / "python"
    return subprocess.run([python, script], cwd=folder / "src", capture_output=True, text=True).stdout.strip()


class TestEnvironmentRegistry(RegistryContract):
    @pytest.fixture
    def present(self, tmp_path: Path) -> str:
        folder = tmp_path / "environments" / "0123abc"
        folder.mkdir(parents=True)
        (folder / "ready").touch()
        return f"env:{folder}"

    @pytest.fixture
    def absent(self, tmp_path: Path) -> list[str]:
        """One that nobody made, and one that is half made."""
        (tmp_path / "environments" / "half" / "venv").mkdir(parents=True)
        return [f"env:{tmp_path}/environments/{tag}" for tag in ("no-such-tag", "half")]

    @pytest.fixture
    def registry(self, tmp_path: Path) -> EnvironmentRegistry:
        return EnvironmentRegistry(tmp_path)
