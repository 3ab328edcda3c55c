"""Images made by CodeBuild: the builder contract on a stand-in that really builds, and what is particular to it."""

from __future__ import annotations

import hashlib
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests import services
from tests.conditions import eventually
from tests.contracts.builder_contract import FAREWELL, BuilderContract, MakeFailingRequest, MakeRequest
from tests.contracts.test_docker_builder import docker_with_buildkit
from tests.docker_engine import docker
from tests.standins.aws.codebuild import CodeBuild
from tests.standins.aws.json_service import THROTTLED, Drop, JsonService, ServiceError
from tests.standins.aws.moto_server import ACCOUNT, unique

from slipway.adapters.aws.blobs import S3Blobs
from slipway.adapters.aws.clients import Clients
from slipway.adapters.aws.codebuild import CodeBuildBuilder
from slipway.adapters.aws.ecr import EcrCredentials, ensure_repository
from slipway.adapters.oci.registry import OciRegistry
from slipway.errors import Forbidden, Invalid, NotFound, Permanent, Refused, Temporary
from slipway.model import Build, BuildPhase, BuildRequest, BuildStatus, Presence
from slipway.ports import Builder

HTPASSWD = "AWS:$2b$05$TDMarMnGhYl0GrGyHItzueWo1MbhzKULuA8GrpQKRiiXVsDjsmyle\n"
"""bcrypt of the password that moto's ECR hands out."""
LABEL = f"slipway-test={uuid.uuid4().hex}"
DOCKERFILE = (
    f"FROM {services.BASE_IMAGE}\nLABEL {LABEL}\nARG COLOUR=none\nENV COLOUR=$COLOUR\nWORKDIR /job\nCOPY . /job\n"
)
READS_LINK = "python3 -c 'import os; print(os.readlink(\"link\"))'"
MakeBuilder = Callable[..., CodeBuildBuilder]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry that wants the login of ECR, as moto has none."""
    services.base_image()
    with services.oci_registry(tmp_path_factory.mktemp("ecr"), HTPASSWD) as host:
        yield host


class Fixtures:
    """A project, a bucket and a repository of the test's own."""

    concurrent = 1
    """How many builds the account may run at once."""

    @pytest.fixture
    def destination(self) -> str:
        return f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com/{unique('jobs')}"

    @pytest.fixture
    def events(self) -> list[dict[str, Any]]:
        return []

    @pytest.fixture
    def codebuild(
        self, aws: Clients, events: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[CodeBuild]:
        with CodeBuild(concurrent=self.concurrent, on_event=events.append) as service:
            monkeypatch.setenv("AWS_ENDPOINT_URL_CODEBUILD", service.url)
            service.create_project("slipway")
            yield service

    @pytest.fixture
    def bucket(self, aws: Clients) -> str:
        name = unique("contexts")
        aws.s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        return name

    @pytest.fixture
    def make_builder(self, aws: Clients, codebuild: CodeBuild, bucket: str, destination: str) -> MakeBuilder:
        def make(**changes: Any) -> CodeBuildBuilder:
            clients = Clients()
            host = destination.partition("/")[0]
            settings: dict[str, Any] = {
                "project": "slipway",
                "blobs": S3Blobs(clients, bucket, "slipway/"),
                "bucket_prefix": f"{bucket}/slipway/",
                "destination": destination,
                "registry": OciRegistry(EcrCredentials(clients, also=frozenset({host}))),
                "create_repository": lambda image: ensure_repository(clients, image),
                "clock": codebuild.now,
            }
            return CodeBuildBuilder(clients, **{**settings, **changes})

        return make

    @pytest.fixture
    def builder(self, make_builder: MakeBuilder) -> CodeBuildBuilder:
        return make_builder()

    @pytest.fixture
    def fresh_builder(self, make_builder: MakeBuilder) -> CodeBuildBuilder:
        return make_builder()

    @pytest.fixture
    def request_(self, builder: CodeBuildBuilder, tmp_path: Path) -> MakeRequest:
        def make(files: dict[str, str], **changes: object) -> BuildRequest:
            context = tmp_path / "contexts" / uuid.uuid4().hex
            context.mkdir(parents=True)
            for name, text in files.items():
                path = context / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            tag = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()[:24]
            plain = BuildRequest(builder.image("digits", tag), 1, str(context), DOCKERFILE)
            return replace(plain, **changes)  # type: ignore[arg-type]

        return make

    def build_of(self, request: BuildRequest, build_id: str | None = None) -> Build:
        return Build(request.image, "codebuild", request.attempt, build_id)


class RunningFixtures(Fixtures):
    """Builds really run, and push to a registry."""

    @pytest.fixture
    def destination(self, host: str) -> Iterator[str]:  # type: ignore[override]
        destination = f"{host}/{unique('jobs')}"
        yield destination
        if images := docker("images", "--format", "{{.Repository}}:{{.Tag}}", destination).split():
            docker("image", "rm", "--force", *images, check=False)
        if left := docker("images", "--quiet", "--filter", "dangling=true", "--filter", f"label={LABEL}").split():
            docker("image", "rm", "--force", *left, check=False)

    @pytest.fixture
    def codebuild(
        self, aws: Clients, events: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[CodeBuild]:
        command = docker_with_buildkit()
        with CodeBuild(runs=True, aws=aws, docker=command, on_event=events.append) as service:
            monkeypatch.setenv("AWS_ENDPOINT_URL_CODEBUILD", service.url)
            service.create_project("slipway")
            yield service


@pytest.mark.docker
@pytest.mark.registry
class TestCodeBuildBuilder(RunningFixtures, BuilderContract):
    """S8, S11: the builder `codebuild`."""

    kind = "codebuild"
    cache_mounts = True

    @pytest.fixture
    def failing_request(self, request_: MakeRequest) -> MakeFailingRequest:
        said = "".join(f"echo line {number}; " for number in range(60))
        dockerfile = f"{DOCKERFILE}RUN {said} echo '{FAREWELL}'; exit 1\n"
        return lambda: request_({"train.py": "print(1)"}, dockerfile=dockerfile)

    @pytest.fixture(autouse=True)
    def looked_at(self, codebuild: CodeBuild) -> None:
        self._codebuild = codebuild

    def build_of(self, request: BuildRequest, build_id: str | None = None) -> Build:
        return Fixtures.build_of(self, request, build_id)

    def times_built(self, builder: Builder, request: BuildRequest) -> int:
        ours = {"SLIPWAY_IMAGE": request.image, "SLIPWAY_ATTEMPT": str(request.attempt)}
        with self._codebuild.lock:
            builds = [build for build in self._codebuild.builds.values() if ours.items() <= build.variables.items()]
            return sum(phase.kind == "BUILD" for build in builds for phase in build.phases)


class Running(RunningFixtures):
    """Builds that are followed to their end."""

    def built(self, builder: CodeBuildBuilder, request: BuildRequest) -> BuildStatus:
        builder.start(request)

        def over() -> BuildStatus | None:
            status = builder.status(self.build_of(request))
            return None if status.phase.alive else status

        ended = eventually(over, within=60.0)
        assert ended.phase is BuildPhase.SUCCEEDED, "\n".join(builder.logs(self.build_of(request)))
        return ended

    def printed(self, request: BuildRequest, *command: str) -> str:
        """What a command prints in the image as it came from the registry."""
        docker("image", "rm", "--force", request.image)
        docker("login", "--username", "AWS", "--password", f"{ACCOUNT}-auth-token", request.image.partition("/")[0])
        docker("pull", request.image)
        return docker("run", "--rm", "--network", "none", request.image, *command)


@pytest.mark.docker
@pytest.mark.registry
class TestWhatIsBuilt(Running):
    @pytest.fixture(autouse=True)
    def own_login(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))

    def test_modes_and_links_of_the_context_arrive_and_the_dockerfile_is_not_in_it(
        self, builder: CodeBuildBuilder, request_: MakeRequest
    ) -> None:
        request = request_({"train.py": "x", "deep/größe.txt": "y"})
        Path(request.context, "link").symlink_to("train.py")
        Path(request.context, "train.py").chmod(0o755)
        self.built(builder, request)
        seen = self.printed(request, "sh", "-c", f"find . | sort; ls -l train.py | head -c 10; echo; {READS_LINK}")
        assert seen.split() == [".", "./deep", "./deep/größe.txt", "./link", "./train.py", "-rwxr-xr-x", "train.py"]

    def test_a_build_argument_arrives_as_it_is_and_runs_nothing(
        self, builder: CodeBuildBuilder, request_: MakeRequest, tmp_path: Path
    ) -> None:
        canary = tmp_path / "canary"
        colour = f'it\'s "dark"\n$(touch {canary}) `touch {canary}`; touch {canary} & $HOME ${{PATH}} \\ * größe'
        request = request_({"a": "b"}, build_args={"COLOUR": colour}, platform="linux/amd64")
        self.built(builder, request)
        assert self.printed(request, "python3", "-c", "import os; print(os.environ['COLOUR'])") == colour
        assert not canary.exists()

    def test_an_image_that_is_there_by_now_is_not_built_over(
        self, builder: CodeBuildBuilder, request_: MakeRequest, codebuild: CodeBuild
    ) -> None:
        first = request_({"train.py": "print(1)"})
        self.built(builder, first)
        second = request_({"train.py": "print(2)"}, image=first.image, attempt=2)
        self.built(builder, second)
        assert self.printed(first, "cat", "train.py") == "print(1)"
        assert len(codebuild.builds) == 2

    def test_the_layers_are_kept_in_the_repository_for_the_next_build(
        self, builder: CodeBuildBuilder, request_: MakeRequest
    ) -> None:
        request = request_({"train.py": "print(1)"})
        self.built(builder, request)
        cache = f"{request.image.rpartition(':')[0]}:cache"
        assert builder.registry().presence(cache) is Presence.PRESENT
        again = request_({"train.py": "print(2)"})
        self.built(builder, again)
        log = list(builder.logs(self.build_of(again)))
        assert any(f"importing cache manifest from {cache}" in line for line in log)
        assert not any("ERROR importing" in line or "failed to configure" in line for line in log)

    def test_the_log_is_told_from_its_first_line(self, builder: CodeBuildBuilder, request_: MakeRequest) -> None:
        request = request_(
            {"train.py": "print(1)"}, dockerfile=f"{DOCKERFILE}RUN : {uuid.uuid4()}; echo one; echo two\n"
        )
        assert list(builder.logs(self.build_of(request))) == []
        ended = self.built(builder, request)
        log = list(builder.logs(self.build_of(request, ended.build_id)))
        assert "DOWNLOAD_SOURCE" in log[0]
        # BuildKit: the number of the step, its seconds, and what it said.
        said = [found[1] for line in log if (found := re.fullmatch(r"#\d+ [\d.]+ (one|two)", line))]
        assert said == ["one", "two"]

    def test_a_failure_names_its_phase_and_the_command(self, builder: CodeBuildBuilder, request_: MakeRequest) -> None:
        request = request_({"a": "b"}, dockerfile=f"{DOCKERFILE}RUN exit 3\n")
        builder.start(request)
        ended = eventually(
            lambda: (status := builder.status(self.build_of(request))).phase is BuildPhase.FAILED and status, within=60
        )
        assert ended
        assert ended.reason == "BUILD: Error while executing command: bash slipway.sh build. Reason: exit status 1"
        assert "exit code: 3" in ended.log_tail

    def test_a_build_that_somebody_stops_is_over_and_makes_room_for_the_next(
        self, aws: Clients, builder: CodeBuildBuilder, request_: MakeRequest, codebuild: CodeBuild
    ) -> None:
        endless = request_({"a": "1"}, dockerfile=f"{DOCKERFILE}RUN sleep 1000\n")
        started = builder.start(endless)
        assert started.build_id
        eventually(lambda: builder.status(self.build_of(endless)).reason == "build", within=30)
        aws.codebuild.stop_build(id=started.build_id)
        assert builder.status(self.build_of(endless)).reason == "somebody stopped it at CodeBuild"
        self.built(builder, request_({"a": "2"}))

    def test_a_source_that_is_not_there_is_named(
        self, make_builder: MakeBuilder, request_: MakeRequest, bucket: str
    ) -> None:
        builder = make_builder(bucket_prefix=f"{bucket}/elsewhere")
        request = request_({"a": "b"})
        builder.start(request)
        ended = eventually(
            lambda: (status := builder.status(self.build_of(request))).phase is BuildPhase.FAILED and status, within=60
        )
        assert ended
        assert ended.reason.startswith("DOWNLOAD_SOURCE: error while downloading key elsewhere/contexts/")


class TestOneBuild(Fixtures):
    """S11: one build per image and attempt."""

    def test_once_the_token_is_forgotten_the_build_is_found_by_looking(
        self, builder: CodeBuildBuilder, request_: MakeRequest, codebuild: CodeBuild
    ) -> None:
        request = request_({"a": "b"})
        first = builder.start(request)
        codebuild.advance(360.0)
        assert builder.start(request).build_id == first.build_id
        assert len(codebuild.builds) == 1
        assert len(codebuild.calls("StartBuild")) == 1

    @pytest.mark.parametrize("later", [0.0, 360.0])
    def test_a_start_whose_answer_was_lost_is_adopted(
        self, builder: CodeBuildBuilder, request_: MakeRequest, codebuild: CodeBuild, later: float
    ) -> None:
        request = request_({"a": "b"})
        codebuild.inject("StartBuild", Drop.AFTER, times=3)
        with pytest.raises(Temporary) as unknown:
            builder.start(request)
        assert not isinstance(unknown.value, Refused)
        codebuild.advance(later)
        found = builder.start(request)
        assert found.build_id in codebuild.builds
        assert len(codebuild.builds) == 1

    def test_a_start_that_was_lost_on_its_way_is_made_again(
        self, builder: CodeBuildBuilder, request_: MakeRequest, codebuild: CodeBuild
    ) -> None:
        request = request_({"a": "b"})
        codebuild.inject("StartBuild", Drop.BEFORE, times=3)
        with pytest.raises(Temporary):
            builder.start(request)
        assert builder.status(self.build_of(request)).phase is BuildPhase.ABSENT
        assert builder.start(request).build_id in codebuild.builds

    def test_one_that_another_version_started_meanwhile_is_adopted(
        self, make_builder: MakeBuilder, builder: CodeBuildBuilder, request_: MakeRequest, codebuild: CodeBuild
    ) -> None:
        request = request_({"a": "b"})
        other = replace(request, dockerfile=f"{DOCKERFILE}# written otherwise\n")
        slow = make_builder(create_repository=lambda image: builder.start(other) and None)
        assert slow.start(request).build_id in codebuild.builds
        assert len(codebuild.builds) == 1

    def test_the_next_attempt_is_another_build(
        self, builder: CodeBuildBuilder, request_: MakeRequest, codebuild: CodeBuild
    ) -> None:
        request = request_({"a": "b"})
        first = builder.start(request)
        assert first.build_id
        codebuild.end(first.build_id, "FAILED")
        assert builder.start(replace(request, attempt=2)).build_id != first.build_id
        assert builder.status(self.build_of(request)).phase is BuildPhase.FAILED

    def test_an_identifier_of_another_attempt_is_not_believed(
        self, builder: CodeBuildBuilder, request_: MakeRequest
    ) -> None:
        request = request_({"a": "b"})
        first = builder.start(request)
        later = self.build_of(replace(request, attempt=2), first.build_id)
        assert builder.status(later).phase is BuildPhase.ABSENT

    def test_a_build_that_codebuild_forgot_is_absent(
        self, builder: CodeBuildBuilder, request_: MakeRequest, codebuild: CodeBuild
    ) -> None:
        request = request_({"a": "b"})
        started = builder.start(request)
        assert started.build_id
        codebuild.forget(started.build_id)
        assert builder.status(self.build_of(request, started.build_id)).phase is BuildPhase.ABSENT


class TestManyBuilds(Fixtures):
    concurrent = 1000

    @pytest.fixture
    def others(self, aws: Clients, codebuild: CodeBuild) -> Callable[[int], None]:
        def start(count: int) -> None:
            for number in range(count):
                aws.codebuild.start_build(projectName="slipway", idempotencyToken=str(number))

        return start

    def test_a_build_is_found_behind_hundreds_of_later_ones(
        self, builder: CodeBuildBuilder, request_: MakeRequest, codebuild: CodeBuild, others: Callable[[int], None]
    ) -> None:
        request = request_({"a": "b"})
        started = builder.start(request)
        others(230)
        assert builder.status(self.build_of(request)).build_id == started.build_id

    def test_a_build_of_now_is_found_at_the_first_look_however_many_there_were_before(
        self, builder: CodeBuildBuilder, request_: MakeRequest, codebuild: CodeBuild, others: Callable[[int], None]
    ) -> None:
        others(120)
        request = request_({"a": "b"})
        started = builder.start(request)
        looks = len(codebuild.calls("ListBuildsForProject"))
        assert builder.status(self.build_of(request)).build_id == started.build_id
        assert len(codebuild.calls("ListBuildsForProject")) == looks + 1

    def test_what_is_older_than_a_day_is_not_looked_through(
        self, builder: CodeBuildBuilder, request_: MakeRequest, codebuild: CodeBuild, others: Callable[[int], None]
    ) -> None:
        others(230)
        codebuild.advance(2 * 86400.0)
        assert builder.status(self.build_of(request_({"a": "b"}))).phase is BuildPhase.ABSENT
        assert len(codebuild.calls("ListBuildsForProject")) == 1


class TestTheWordsOfCodeBuild(Fixtures):
    """S8: a build's status, whatever CodeBuild says of it."""

    def test_a_second_build_waits_in_line_where_one_may_run(
        self, builder: CodeBuildBuilder, request_: MakeRequest, codebuild: CodeBuild
    ) -> None:
        one, other = request_({"a": "1"}), request_({"a": "2"})
        first, second = builder.start(one), builder.start(other)
        assert builder.status(self.build_of(one, first.build_id)).phase is BuildPhase.RUNNING
        waiting = builder.status(self.build_of(other, second.build_id))
        assert waiting.phase is BuildPhase.QUEUED
        assert "in line" in waiting.reason
        assert first.build_id
        codebuild.end(first.build_id)
        assert builder.status(self.build_of(other)).phase is BuildPhase.RUNNING

    @pytest.mark.parametrize(
        ("status", "phase", "reason"),
        [
            ("SUCCEEDED", BuildPhase.SUCCEEDED, ""),
            ("FAILED", BuildPhase.FAILED, "BUILD: the words"),
            ("FAULT", BuildPhase.FAILED, "a fault of CodeBuild's own: BUILD: the words"),
            ("TIMED_OUT", BuildPhase.FAILED, "it took longer than the 60 minutes that its project allows"),
            ("STOPPED", BuildPhase.FAILED, "somebody stopped it at CodeBuild"),
        ],
    )
    def test_each_end_is_told_with_its_reason(
        self,
        builder: CodeBuildBuilder,
        request_: MakeRequest,
        codebuild: CodeBuild,
        status: str,
        phase: BuildPhase,
        reason: str,
    ) -> None:
        request = request_({"a": "b"})
        started = builder.start(request)
        assert started.build_id
        codebuild.enter(started.build_id, "BUILD")
        running = builder.status(self.build_of(request, started.build_id))
        assert (running.phase, running.reason) == (BuildPhase.RUNNING, "build")
        codebuild.end(started.build_id, status, "the words")
        ended = builder.status(self.build_of(request, started.build_id))
        assert ended.phase is phase
        assert ended.reason.startswith(reason)

    def test_one_that_took_too_long_says_how_long_is_allowed(
        self, builder: CodeBuildBuilder, request_: MakeRequest, codebuild: CodeBuild
    ) -> None:
        request = request_({"a": "b"})
        builder.start(request)
        codebuild.advance(3601.0)
        ended = builder.status(self.build_of(request))
        assert ended.phase is BuildPhase.FAILED
        assert ended.reason.startswith("it took longer than the 60 minutes")

    def test_one_that_waited_too_long_says_so(
        self, aws: Clients, builder: CodeBuildBuilder, request_: MakeRequest, codebuild: CodeBuild
    ) -> None:
        codebuild.create_project("slow", timeout=2160)
        aws.codebuild.start_build(projectName="slow")
        request = request_({"a": "b"})
        builder.start(request)
        codebuild.advance(8 * 3600.0 + 1)
        ended = builder.status(self.build_of(request))
        assert ended.phase is BuildPhase.FAILED
        assert ended.reason.startswith("it was in line for longer than the 480 minutes")

    def test_somebody_who_stops_it_ends_it(
        self, aws: Clients, builder: CodeBuildBuilder, request_: MakeRequest
    ) -> None:
        request = request_({"a": "b"})
        started = builder.start(request)
        assert started.build_id
        aws.codebuild.stop_build(id=started.build_id)
        assert builder.status(self.build_of(request)).reason == "somebody stopped it at CodeBuild"

    def test_a_failure_is_told_although_its_log_is_gone(
        self, builder: CodeBuildBuilder, request_: MakeRequest, codebuild: CodeBuild
    ) -> None:
        request = request_({"a": "b"})
        started = builder.start(request)
        assert started.build_id
        codebuild.end(started.build_id, "FAILED", "the words")
        ended = builder.status(self.build_of(request))
        assert ended == BuildStatus(BuildPhase.FAILED, started.build_id, "PROVISIONING: the words")
        assert list(builder.logs(self.build_of(request))) == []

    def test_a_failure_is_told_although_its_log_may_not_be_read(
        self,
        builder: CodeBuildBuilder,
        request_: MakeRequest,
        codebuild: CodeBuild,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        with ForbiddenLogs() as logs:
            monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDWATCH_LOGS", logs.url)
            request = request_({"a": "b"})
            started = builder.start(request)
            assert started.build_id
            codebuild.end(started.build_id, "FAILED", "the words")
            ended = builder.status(self.build_of(request))
        assert ended.phase is BuildPhase.FAILED
        assert '"Action": "logs:GetLogEvents"' in ended.log_tail


class ForbiddenLogs(JsonService):
    service = "logs"

    def operations(self) -> Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]]:
        return {"GetLogEvents": self._refuse}

    def _refuse(self, asked: dict[str, Any]) -> dict[str, Any]:
        raise denied("logs:GetLogEvents", "arn:aws:logs:eu-west-1:123456789012:log-group:/aws/codebuild/slipway")


def denied(action: str, resource: str) -> ServiceError:
    """As IAM words it."""
    user = f"arn:aws:sts::{ACCOUNT}:assumed-role/slipway-build/session"
    words = f"User: {user} is not authorized to perform: {action} on resource: {resource} because no policy allows it"
    return ServiceError("AccessDeniedException", words)


class TestRefusals(Fixtures):
    """Bad input, and what an account does not allow."""

    def test_a_throttled_start_is_refused_and_nothing_was_started(
        self, builder: CodeBuildBuilder, request_: MakeRequest, codebuild: CodeBuild
    ) -> None:
        codebuild.inject("StartBuild", THROTTLED, times=3)
        with pytest.raises(Refused, match="Rate exceeded"):
            builder.start(request_({"a": "b"}))
        assert not codebuild.builds

    def test_a_full_line_is_refused_for_now_and_names_the_quota(
        self, aws: Clients, builder: CodeBuildBuilder, request_: MakeRequest, codebuild: CodeBuild
    ) -> None:
        for _ in range(6):
            aws.codebuild.start_build(projectName="slipway")
        request = request_({"a": "b"})
        with pytest.raises(Refused, match=r"more than 5 builds in queue.*Service Quotas"):
            builder.start(request)
        codebuild.end(next(iter(codebuild.builds)))
        assert builder.start(request).phase is BuildPhase.QUEUED

    def test_a_project_with_a_limit_of_its_own_refuses_for_now(
        self, make_builder: MakeBuilder, request_: MakeRequest, codebuild: CodeBuild
    ) -> None:
        codebuild.create_project("narrow", concurrent_limit=1)
        builder = make_builder(project="narrow")
        builder.start(request_({"a": "1"}))
        with pytest.raises(Refused, match="more than 1 active builds"):
            builder.start(request_({"a": "2"}))

    def test_a_missing_permission_is_named_with_the_line_to_add(
        self, builder: CodeBuildBuilder, request_: MakeRequest, codebuild: CodeBuild
    ) -> None:
        project = f"arn:aws:codebuild:eu-west-1:{ACCOUNT}:project/slipway"
        codebuild.inject("StartBuild", denied("codebuild:StartBuild", project))
        with pytest.raises(Forbidden) as refusal:
            builder.start(request_({"a": "b"}))
        assert "role slipway-build" in refusal.value.message
        assert f'"Action": "codebuild:StartBuild", "Resource": "{project}"' in refusal.value.message

    def test_a_project_that_is_not_there_is_named(self, make_builder: MakeBuilder, request_: MakeRequest) -> None:
        with pytest.raises(NotFound, match="project/nowhere"):
            make_builder(project="nowhere").start(request_({"a": "b"}))

    def test_a_bucket_that_is_not_there_is_named_and_nothing_is_started(
        self, aws: Clients, make_builder: MakeBuilder, request_: MakeRequest, codebuild: CodeBuild
    ) -> None:
        nowhere = unique("nowhere")
        builder = make_builder(blobs=S3Blobs(aws, nowhere), bucket_prefix=nowhere)
        with pytest.raises(NotFound, match=nowhere):
            builder.start(request_({"a": "b"}))
        assert not codebuild.calls("StartBuild")

    def test_a_compute_type_that_codebuild_does_not_have_is_told_in_its_words(
        self, builder: CodeBuildBuilder, request_: MakeRequest
    ) -> None:
        with pytest.raises(Permanent, match="BUILD_GENERAL1_SMALL"):
            builder.start(request_({"a": "b"}, config={"compute-type": "HUGE"}))

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"image": "--privileged"}, "image"),
            ({"image": "registry.example/$(id):1"}, "image"),
            ({"dockerfile": " \n"}, "dockerfile"),
            ({"build_args": {"A=B": "x"}}, "build_args"),
            ({"build_args": {"A": "x\0--network=host"}}, "build_args"),
            ({"config": {"compute-type": 4}}, "compute-type"),
        ],
    )
    def test_a_request_that_docker_would_misread_is_refused(
        self,
        builder: CodeBuildBuilder,
        request_: MakeRequest,
        codebuild: CodeBuild,
        changes: dict[str, object],
        field: str,
    ) -> None:
        with pytest.raises(Invalid, match=field):
            builder.start(request_({"a": "b"}, **changes))
        assert not codebuild.requests

    @pytest.mark.parametrize("host", ["docker.io", "registry.example.com", "127.0.0.1.example.com", "ecr.example.com"])
    def test_the_login_of_ecr_goes_to_no_other_registry(self, make_builder: MakeBuilder, host: str) -> None:
        with pytest.raises(Invalid, match="is not in ECR"):
            make_builder(destination=f"{host}/team/jobs")
        assert make_builder(destination=f"{host}/team/jobs", also=frozenset({host})).image("digits", "1")

    def test_a_context_that_is_not_there_is_named(self, builder: CodeBuildBuilder, request_: MakeRequest) -> None:
        request = request_({"a": "b"})
        shutil.rmtree(request.context)
        with pytest.raises(Permanent, match="there is no folder"):
            builder.start(request)


class TestTheOrder(Fixtures):
    """What StartBuild is asked for."""

    def test_it_holds_no_secret_and_nothing_of_the_submission_but_the_image(
        self, builder: CodeBuildBuilder, request_: MakeRequest, codebuild: CodeBuild, bucket: str
    ) -> None:
        request = request_({"a": "b"}, build_args={"TOKEN": "hunter2"}, config={"compute-type": "BUILD_GENERAL1_LARGE"})
        builder.start(request)
        (call,) = codebuild.calls("StartBuild")
        assert "hunter2" not in repr(call.body)
        given = {each["name"]: (each["value"], each["type"]) for each in call.body["environmentVariablesOverride"]}
        assert given == {
            "SLIPWAY_IMAGE": (request.image, "PLAINTEXT"),
            "SLIPWAY_ATTEMPT": ("1", "PLAINTEXT"),
            "SLIPWAY_REGISTRY_REGION": ("eu-west-1", "PLAINTEXT"),
        }
        assert call.body["computeTypeOverride"] == "BUILD_GENERAL1_LARGE"
        assert call.body["sourceLocationOverride"].startswith(f"{bucket}/slipway/contexts/")

    def test_the_repository_is_there_before_the_build(
        self, aws: Clients, builder: CodeBuildBuilder, request_: MakeRequest, destination: str
    ) -> None:
        builder.start(request_({"a": "b"}))
        name = destination.partition("/")[2]
        assert aws.ecr.describe_repositories(repositoryNames=[name])["repositories"]

    def test_the_registry_of_another_region_is_logged_in_to_there(
        self, make_builder: MakeBuilder, request_: MakeRequest, codebuild: CodeBuild
    ) -> None:
        destination = f"{ACCOUNT}.dkr.ecr.us-east-2.amazonaws.com/jobs"
        builder = make_builder(destination=destination, create_repository=lambda image: None)
        builder.start(request_({"a": "b"}, image=builder.image("digits", "1")))
        (build,) = codebuild.builds.values()
        assert build.variables["SLIPWAY_REGISTRY_REGION"] == "us-east-2"

    def test_the_same_context_is_uploaded_under_the_same_key(
        self, builder: CodeBuildBuilder, request_: MakeRequest, codebuild: CodeBuild
    ) -> None:
        one, same = request_({"a": "b"}), request_({"a": "b"}, attempt=2)
        builder.start(one)
        builder.start(same)
        first, second = codebuild.calls("StartBuild")
        assert first.body["sourceLocationOverride"] == second.body["sourceLocationOverride"]


class TestEvents(Fixtures):
    def test_a_build_tells_of_its_start_and_its_end_with_its_variables(
        self, builder: CodeBuildBuilder, request_: MakeRequest, codebuild: CodeBuild, events: list[dict[str, Any]]
    ) -> None:
        request = request_({"a": "b"})
        started = builder.start(request)
        assert started.build_id
        codebuild.enter(started.build_id, "BUILD")
        codebuild.end(started.build_id, "FAILED", "the words")
        assert eventually(lambda: len(events) == 2)
        assert [each["detail"]["build-status"] for each in events] == ["IN_PROGRESS", "FAILED"]
        told = events[1]["detail"]["additional-information"]
        assert {"name": "SLIPWAY_IMAGE", "value": request.image, "type": "PLAINTEXT"} in (
            told["environment"]["environment-variables"]
        )
        phases = {each["phase-type"]: each.get("phase-context") for each in told["phases"]}
        assert phases["BUILD"] == ["COMMAND_EXECUTION_ERROR: the words"]
        assert list(phases)[-3:] == ["UPLOAD_ARTIFACTS", "FINALIZING", "COMPLETED"]
