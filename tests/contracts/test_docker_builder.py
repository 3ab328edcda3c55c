"""Images made by `docker build`: the builder contract, and what is particular to them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import tarfile
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import services
from tests.conditions import eventually
from tests.contracts.builder_contract import FAREWELL, BuilderContract, MakeFailingRequest, MakeRequest
from tests.contracts.test_environment_builder import MAKES_A_WHEEL, PACKAGE
from tests.docker_engine import docker

from slipway.adapters.local.docker_builder import DockerBuilder
from slipway.adapters.local.docker_images import DockerImages
from slipway.adapters.local.supervised import Supervised
from slipway.adapters.oci.registry import OciRegistry
from slipway.context import copy
from slipway.dockerfile import HOME
from slipway.errors import Invalid, Permanent, Refused, Temporary
from slipway.image import ImagePlan, plan
from slipway.model import Build, BuildPhase, BuildRequest, BuildStatus, GitSource, Job, Presence
from slipway.ports import Builder

LABEL = f"slipway-test={uuid.uuid4().hex}"
"""On every layer that these tests make, so that what failed builds leave can be told from other people's."""
DOCKERFILE = (
    f"FROM {services.BASE_IMAGE}\nLABEL {LABEL}\nARG COLOUR=none\nENV COLOUR=$COLOUR\nWORKDIR /job\nCOPY . /job\n"
)
COUNTING = """#!/bin/sh
[ "$1" = build ] && for word; do [ "$before" = --tag ] && echo "$word" >> {calls}; before=$word; done
exec {docker} "$@"
"""


def has_buildkit(command: str) -> bool:
    """Whether a docker command can build with BuildKit: built in before 23.0, a plug-in since."""
    shown = subprocess.run([command, "version", "--format", "{{.Client.Version}}"], capture_output=True, text=True)
    plugin = subprocess.run([command, "buildx", "version"], capture_output=True)
    major = re.match(r"\d+", shown.stdout)
    return plugin.returncode == 0 or (major is not None and int(major[0]) < 23)


def docker_with_buildkit() -> str:
    """A machine may have several docker commands; the first on PATH that has BuildKit."""
    services.docker()
    found = (shutil.which("docker", path=folder) for folder in [*os.environ["PATH"].split(":"), "/usr/bin"])
    able = next((command for command in found if command and has_buildkit(command)), None)
    return able or services.missing("BuildKit", "install docker's buildx plug-in, or Debian's docker.io package")


class BuilderFixtures:
    def command(self) -> str:
        """The real docker command."""
        return services.program("docker")

    @pytest.fixture(autouse=True)
    def counted(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """First on PATH: a `docker` that writes down the image of each build, and then is the real one."""
        services.base_image()
        folder = tmp_path / "bin"
        folder.mkdir()
        (folder / "docker").write_text(COUNTING.format(calls=tmp_path / "calls", docker=self.command()))
        (folder / "docker").chmod(0o755)
        monkeypatch.setenv("PATH", str(folder), prepend=":")
        monkeypatch.delenv("DOCKER_BUILDKIT", raising=False)

    @pytest.fixture
    def home(self, tmp_path: Path) -> Path:
        return tmp_path / "data"

    @pytest.fixture
    def builder(self, home: Path) -> DockerBuilder:
        return DockerBuilder(home, registry=DockerImages())

    @pytest.fixture
    def fresh_builder(self, home: Path) -> DockerBuilder:
        return DockerBuilder(home, registry=DockerImages())

    @pytest.fixture
    def images(self, home: Path) -> Iterator[list[str]]:
        """Images that are removed after the test, and builds that are stopped."""
        images: list[str] = []
        yield images
        for started in home.glob("builds/*/process"):
            Supervised(started).stop(grace=0.0)
        for image in images:
            docker("image", "rm", "--force", image, check=False)
        # Not `docker image prune`: the engine runs one at a time, and refuses that of the test process beside this one.
        if left := docker("images", "--quiet", "--filter", "dangling=true", "--filter", f"label={LABEL}").split():
            docker("image", "rm", "--force", *left, check=False)

    @pytest.fixture
    def request_(self, builder: DockerBuilder, images: list[str], tmp_path: Path) -> MakeRequest:
        test = uuid.uuid4().hex[:8]

        def make(files: dict[str, str], **changes: object) -> BuildRequest:
            context = tmp_path / "contexts" / uuid.uuid4().hex
            for name, text in files.items():
                path = context / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            tag = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()[:24]
            plain = BuildRequest(builder.image(f"test-{test}", tag), 1, str(context), DOCKERFILE)
            request = replace(plain, **changes)  # type: ignore[arg-type]
            images.append(request.image)
            return request

        return make

    @pytest.fixture
    def failing_request(self, request_: MakeRequest) -> MakeFailingRequest:
        said = "".join(f"echo line {number}; " for number in range(60))
        dockerfile = f"{DOCKERFILE}RUN {said} echo '{FAREWELL}'; exit 1\n"
        return lambda: request_({"train.py": "print(1)"}, dockerfile=dockerfile)

    def times_built(self, builder: Builder, request: BuildRequest) -> int:
        home = os.environ["PATH"].split(":")[0]
        return Path(home, "..", "calls").read_text().splitlines().count(request.image)


@pytest.mark.docker
class TestDockerBuilder(BuilderFixtures, BuilderContract):
    """S8, S11: the builder `docker`."""

    kind = "docker"

    @property
    def cache_mounts(self) -> bool:  # type: ignore[override]
        return has_buildkit(self.command())


@pytest.mark.docker
class TestTheClassicBuilder(BuilderFixtures, BuilderContract):
    """The same where the docker command has no BuildKit."""

    kind = "docker"

    @pytest.fixture(autouse=True)
    def classic(self, counted: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DOCKER_BUILDKIT", "0")

    def test_a_cache_mount_would_fail_the_build(self, builder: DockerBuilder, request_: MakeRequest) -> None:
        request = request_({"a": "b"}, dockerfile=f"{DOCKERFILE}RUN --mount=type=cache,target=/cache true\n")
        builder.start(request)
        ended = self.end(builder, request)
        assert ended.phase is BuildPhase.FAILED
        assert "BuildKit" in ended.log_tail


class Builds(BuilderFixtures):
    """Builds that are followed to their end."""

    def build_of(self, request: BuildRequest) -> Build:
        return Build(request.image, "docker", request.attempt)

    def end(self, builder: DockerBuilder, request: BuildRequest) -> BuildStatus:
        over = (BuildPhase.SUCCEEDED, BuildPhase.FAILED)
        eventually(lambda: builder.status(self.build_of(request)).phase in over, within=60.0)
        return builder.status(self.build_of(request))

    def built(self, builder: DockerBuilder, request: BuildRequest, *command: str) -> str:
        """What a command prints in the image that was built."""
        builder.start(request)
        ended = self.end(builder, request)
        assert ended.phase is BuildPhase.SUCCEEDED, ended.log_tail
        return docker("run", "--rm", "--network", "none", request.image, *command)


@pytest.mark.docker
class TestWhatIsParticular(Builds):
    def test_the_context_is_what_was_given_and_the_dockerfile_is_not_in_it(
        self, builder: DockerBuilder, request_: MakeRequest
    ) -> None:
        request = request_({"train.py": "x", "deep/größe.txt": "y"})
        Path(request.context, "link").symlink_to("train.py")
        Path(request.context, "train.py").chmod(0o755)
        seen = self.built(builder, request, "sh", "-c", "find . | sort; ls -l train.py | head -c 10; echo; cat link")
        assert seen.split() == [".", "./deep", "./deep/größe.txt", "./link", "./train.py", "-rwxr-xr-x", "x"]

    def test_build_arguments_reach_the_build(self, builder: DockerBuilder, request_: MakeRequest) -> None:
        request = request_({"a": "b"}, build_args={"COLOUR": "dark 'blue'"}, platform="linux/amd64")
        assert self.built(builder, request, "sh", "-c", 'echo "$COLOUR"') == "dark 'blue'"

    def test_the_context_is_removed_once_the_image_is_made(
        self, builder: DockerBuilder, request_: MakeRequest, failing_request: MakeFailingRequest, home: Path
    ) -> None:
        made, failed = request_({"a": "b"}), failing_request()
        for request in (made, failed):
            builder.start(request)
            self.end(builder, request)
        assert len(list(home.glob("builds/*/process"))) == 2
        assert len(list(home.glob("builds/*/context"))) == 1

    def test_a_failure_says_why_in_its_last_fifty_lines(
        self, builder: DockerBuilder, failing_request: MakeFailingRequest
    ) -> None:
        """Issue 2, bad input: a build that fails."""
        request = failing_request()
        builder.start(request)
        ended = self.end(builder, request)
        assert re.fullmatch(r"docker ended with exit code [1-9]\d*", ended.reason)
        assert "line 59" in ended.log_tail
        assert "line 1\n" not in ended.log_tail

    def test_the_log_of_a_build_is_kept(self, builder: DockerBuilder, failing_request: MakeFailingRequest) -> None:
        request = failing_request()
        assert list(builder.logs(self.build_of(request))) == []
        builder.start(request)
        self.end(builder, request)
        assert any(FAREWELL in line for line in builder.logs(self.build_of(request)))

    def test_a_base_image_that_is_nowhere_fails_the_build_in_dockers_words(
        self, builder: DockerBuilder, request_: MakeRequest
    ) -> None:
        request = request_({"a": "b"}, dockerfile="FROM 127.0.0.1:9/nobody/nothing:1\n")
        builder.start(request)
        ended = self.end(builder, request)
        assert ended.phase is BuildPhase.FAILED
        assert "connection refused" in ended.log_tail

    def test_a_build_whose_process_vanished_is_failed(
        self, builder: DockerBuilder, request_: MakeRequest, home: Path
    ) -> None:
        request = request_({"a": "b"}, dockerfile=f"{DOCKERFILE}RUN sleep 300\n")
        builder.start(request)
        (folder,) = home.glob("builds/*/process")
        record = json.loads((folder / "started.json").read_text())
        os.kill(record["supervisor"][0], signal.SIGKILL)
        os.killpg(record["job"][0], signal.SIGKILL)
        ended = self.end(builder, request)
        assert ended.phase is BuildPhase.FAILED
        assert "disappeared" in ended.reason

    def test_what_a_crash_left_half_copied_is_copied_anew(
        self, builder: DockerBuilder, request_: MakeRequest, home: Path
    ) -> None:
        request = request_({"a": "b"})
        folder = builder._folder(request.image, request.attempt)
        (folder / "context").mkdir(parents=True)
        (folder / "context" / "half").write_text("a half-copied file")
        assert builder.start(request).phase is not BuildPhase.FAILED
        assert self.end(builder, request).phase is BuildPhase.SUCCEEDED
        assert docker("run", "--rm", "--network", "none", request.image, "ls") == "a"

    def test_an_image_is_pushed_to_the_destination(self, home: Path, request_: MakeRequest, tmp_path: Path) -> None:
        """S11."""
        with services.oci_registry(tmp_path) as address:
            builder = DockerBuilder(home, destination=f"https://{address}/team/jobs/", registry=OciRegistry())
            request = request_({"a": "b"}, image=builder.image("digits", "0123456789abcdef"))
            assert request.image == f"{address}/team/jobs:0123456789abcdef"
            assert builder.registry().presence(request.image) is Presence.ABSENT
            builder.start(request)
            ended = self.end(builder, request)
            assert ended.phase is BuildPhase.SUCCEEDED, ended.log_tail
            assert builder.registry().presence(request.image) is Presence.PRESENT

    def test_a_push_that_fails_fails_the_build(self, home: Path, request_: MakeRequest) -> None:
        builder = DockerBuilder(home, destination="127.0.0.1:9/team/jobs", registry=DockerImages())
        request = request_({"a": "b"}, image=builder.image("digits", "0123456789abcdef"))
        builder.start(request)
        ended = self.end(builder, request)
        assert ended.phase is BuildPhase.FAILED
        assert "connection refused" in ended.log_tail

    def test_without_an_engine_a_start_is_temporary_and_leaves_nothing(
        self, builder: DockerBuilder, request_: MakeRequest, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Issue 2, bad input: Docker engine absent."""
        request = request_({"a": "b"})
        with monkeypatch.context() as broken:
            broken.setenv("DOCKER_HOST", f"unix://{home}/nobody.sock")
            with pytest.raises(Temporary, match="make services"):
                builder.start(request)
        assert builder.status(self.build_of(request)).phase is BuildPhase.ABSENT
        assert not home.exists()

    def test_a_context_that_is_gone_is_permanent(self, builder: DockerBuilder, request_: MakeRequest) -> None:
        request = request_({"a": "b"})
        shutil.rmtree(request.context)
        with pytest.raises(Permanent, match=re.escape(request.context)):
            builder.start(request)

    def test_a_context_for_which_there_is_no_room_is_refused_for_now(
        self, builder: DockerBuilder, request_: MakeRequest
    ) -> None:
        request = request_({"a": "b"})
        os.mkfifo(Path(request.context, "pipe"))
        with pytest.raises(Refused, match="pipe"):
            builder.start(request)
        assert builder.status(self.build_of(request)).phase is BuildPhase.ABSENT


@pytest.mark.docker
class TestAGeneratedDockerfile(Builds):
    """S11: built with BuildKit, from a planned tree. Nothing here needs a network."""

    def command(self) -> str:
        return docker_with_buildkit()

    @pytest.fixture
    def package(self) -> str:
        """One that no earlier test has left in a cache: `<package>-1.0.tar.gz` brings its own build backend."""
        return f"tiny{uuid.uuid4().hex[:12]}"

    @pytest.fixture
    def root(self, tmp_path: Path, package: str) -> Path:
        """A tree that wants the package."""
        root, source = tmp_path / "tree", tmp_path / f"{package}-1.0"
        source.mkdir()
        (source / "pyproject.toml").write_text(PACKAGE.replace("tiny", package))
        (source / "backend.py").write_text(MAKES_A_WHEEL.replace("tiny", package))
        root.mkdir()
        with tarfile.open(root / f"{package}-1.0.tar.gz", "w:gz") as archive:
            archive.add(source, source.name)
        # By its name: what is named by its path alone pip does not look for in its cache.
        (root / "requirements.txt").write_text(f"{package} @ file://{HOME}/{package}-1.0.tar.gz\n")
        (root / "train.py").write_text(f"import {package}; print({package}.words)\n")
        return root

    def planned(self, root: Path, user: str = "1000:0") -> ImagePlan:
        job = Job(GitSource("https://git.example.com/digits.git"), entry_point=("python", "train.py"))
        config = {"base_image": services.BASE_IMAGE}
        return plan(root, job, builder="docker", config=config, default_python="3.11", user=user)

    def log(
        self, builder: DockerBuilder, request_: MakeRequest, plan: ImagePlan, name: str = "a", mounts: bool = True
    ) -> tuple[BuildRequest, str]:
        """Builds the plan; the request, and what docker said."""
        context = builder._builds.parent / f"context-{name}"
        copy(plan.entries, plan.context, context)
        dockerfile = plan.dockerfile_for(cache_mounts=mounts)
        request = request_(
            {},
            image=builder.image(f"{name}-{uuid.uuid4().hex[:8]}", plan.tag),
            context=str(context),
            dockerfile=dockerfile,
        )
        builder.start(request)
        ended = self.end(builder, request)
        log = "\n".join(builder.logs(self.build_of(request)))
        assert ended.phase is BuildPhase.SUCCEEDED, log
        return request, log

    def test_cache_mounts_are_used_and_leave_no_trace_in_the_image(
        self, builder: DockerBuilder, request_: MakeRequest, root: Path, package: str
    ) -> None:
        plan = self.planned(root)
        assert builder.cache_mounts
        assert "--mount=type=cache" in plan.dockerfile_for(cache_mounts=True)
        listing = ("--entrypoint", "find")
        everything = ("/", "-xdev", "-printf", "%y %m %U:%G %p\n")
        images = []
        for name, mounts in (("with", True), ("without", False)):
            request, log = self.log(builder, request_, plan, name, mounts)
            assert f"Building wheel for {package}" in log
            assert docker("run", "--rm", "--network", "none", request.image) == f"hello from {package}"
            found = docker("run", "--rm", "--network", "none", *listing, request.image, *everything)
            images.append(sorted(found.splitlines()))
        assert images[0] == images[1]
        assert any(f"/{package}.py" in line for line in images[0])

    def test_the_next_build_finds_in_the_cache_what_the_last_one_left_there(
        self, builder: DockerBuilder, request_: MakeRequest, root: Path, package: str
    ) -> None:
        _, first = self.log(builder, request_, self.planned(root), "first")
        (root / "train.py").write_text("print('other code, so the layer is made anew')\n")
        _, second = self.log(builder, request_, self.planned(root), "second")
        assert f"Building wheel for {package}" in first
        assert f"Building wheel for {package}" not in second
        assert f"Successfully installed {package}-1.0" in second

    def test_a_change_of_code_installs_nothing_again(
        self, builder: DockerBuilder, request_: MakeRequest, root: Path, package: str
    ) -> None:
        (root / "requirements.txt").write_text(f"pip\n# {package}\n")
        (root / "train.py").write_text("print(1)\n")
        _, first = self.log(builder, request_, self.planned(root), "first")
        (root / "train.py").write_text("print(2)\n")
        request, second = self.log(builder, request_, self.planned(root), "second")
        assert "Requirement already satisfied: pip" in first
        assert "Requirement already satisfied: pip" not in second
        assert docker("run", "--rm", "--network", "none", request.image) == "2"

    @pytest.mark.parametrize("user", ["1234:0", "0:0"])
    def test_it_runs_as_the_user_that_was_asked_for_and_may_write_at_home(
        self, builder: DockerBuilder, request_: MakeRequest, root: Path, user: str
    ) -> None:
        (root / "requirements.txt").unlink()
        (root / "train.py").write_text(
            "import os; open('out', 'w'); os.mkdir(os.path.expanduser('~/.cache')); print(os.getuid(), os.getgid())\n"
        )
        request, _ = self.log(builder, request_, self.planned(root, user), "user")
        assert docker("run", "--rm", "--network", "none", request.image) == user.replace(":", " ")


REQUEST = BuildRequest("slipway/a:1", 1, "/nowhere", "FROM scratch\n")


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (replace(REQUEST, image="--privileged"), "image"),
        (replace(REQUEST, image=""), "image"),
        (replace(REQUEST, dockerfile=" \n"), "dockerfile"),
        (replace(REQUEST, build_args={"A=B": "x"}), "build_args"),
    ],
)
def test_a_request_that_docker_would_misread_is_refused(request_: BuildRequest, field: str, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=field):
        DockerBuilder(tmp_path, registry=DockerImages()).start(request_)


@given(st.text())
def test_any_name_becomes_one_that_docker_accepts(name: str) -> None:
    image = DockerBuilder(Path("/data"), registry=DockerImages()).image(name, "abc")
    # https://github.com/distribution/reference: path-component, and no more than 255 characters of name
    assert re.fullmatch(r"localhost/slipway/[a-z0-9]+((\.|_|-)[a-z0-9]+)*:abc", image)
    assert len(image) < 200


@given(st.text(min_size=1), st.text(min_size=1), st.integers(1, 9), st.integers(1, 9))
def test_each_image_and_attempt_has_a_folder_of_its_own(one: str, other: str, first: int, second: int) -> None:
    builder = DockerBuilder(Path("/data"), registry=DockerImages())
    same = builder._folder(one, first) == builder._folder(other, second)
    assert same == ((one, first) == (other, second))


class TestChoosingBuildKit(BuilderFixtures):
    """`docker` here is a script, whose client is of the version that a test wants."""

    @pytest.fixture(autouse=True)
    def counted(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        monkeypatch.delenv("DOCKER_BUILDKIT", raising=False)

    @pytest.mark.parametrize(
        ("versions", "buildx", "chosen", "mounts"),
        [
            ("20.10.24+dfsg1 20.10.24+dfsg1", 1, "BuildKit=1: build --tag", True),
            ("19.03.9 19.03.9", 1, "BuildKit=1: build --tag", False),
            ("28.2.2 20.10.24", 1, "BuildKit=0: build --force-rm --tag", False),
            ("28.2.2 28.2.2", 0, "BuildKit=1: build --load --tag", True),
            ("dev dev", 1, "BuildKit=0: build --force-rm --tag", False),
        ],
        ids=["built in", "too old for mounts", "absent", "plug-in", "no version"],
    )
    def test_it_is_used_where_the_command_has_it(
        self, builder: DockerBuilder, tmp_path: Path, versions: str, buildx: int, chosen: str, mounts: bool
    ) -> None:
        script = tmp_path / "docker"
        script.write_text(
            f"#!/bin/sh\ncase $1 in version) echo {versions};; buildx) exit {buildx};; "
            '*) echo "BuildKit=$DOCKER_BUILDKIT: $*"; exit 1;; esac\n'
        )
        script.chmod(0o755)
        assert builder.cache_mounts is mounts
        (tmp_path / "context").mkdir()
        request = replace(REQUEST, context=str(tmp_path / "context"))
        builder.start(request)
        build = Build(request.image, "docker")
        ended = eventually(lambda: (status := builder.status(build)).phase is BuildPhase.FAILED and status)
        assert ended
        assert ended.log_tail.startswith(chosen)
