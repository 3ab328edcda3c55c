"""The `codebuild` builder: images made by one AWS CodeBuild project, and pushed to ECR. Nothing runs between builds.

CodeBuild gives builds names of its own, so ours are known by two of their variables: image and attempt. The idempotency
token keeps racing starters from starting two, but for five minutes only; what was started longer ago is found by
looking. https://docs.aws.amazon.com/codebuild/latest/APIReference/API_StartBuild.html
"""

from __future__ import annotations

import hashlib
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slipway.adapters.aws.build_context import pack
from slipway.adapters.aws.build_status import build_status, is_of, log_lines, log_place
from slipway.adapters.aws.buildspec import ATTEMPT, BUILDSPEC, IMAGE, REGION, SCRIPT, SCRIPT_NAME
from slipway.adapters.aws.clients import Clients
from slipway.adapters.aws.ecr import ecr_registry
from slipway.adapters.aws.failures import code_of, translated
from slipway.errors import Invalid, NotFound, Permanent, Problem, Refused
from slipway.model import Build, BuildPhase, BuildRequest, BuildStatus
from slipway.ports import Blobs, Registry
from slipway.reference import not_a_reference
from slipway.registries import Destination
from slipway.registries import destination as taken_apart

if TYPE_CHECKING:
    from mypy_boto3_codebuild.type_defs import BuildTypeDef

TAIL = 50
"""Lines of a failed build's log that are kept with the item."""
LOOK_BACK = 86400.0
"""Seconds: a build that was started before is not looked for. Longer than a build may wait (8 hours) and look again."""
MAX_PAGES = 10
"""Of a hundred builds each, when a build is looked for."""


class CodeBuildBuilder:
    """Safe for use by several threads. Every build is of one project, which has its role, its network and its limits.

    `bucket_prefix` (`bucket` or `bucket/prefix`) is where `blobs` keeps things, in CodeBuild's words. `destination` is
    an ECR repository, as `<account>.dkr.ecr.<region>.amazonaws.com/team/jobs`, or a repository on a host in `also` (of
    ECR's private endpoints) or on loopback; `registry` answers for it. Raises Invalid for another: a build logs in
    there with ECR's password, which must not go elsewhere.
    `create_repository` is called with the image before a build: it sees to it that the repository is there. `clock`
    gives seconds since the Unix epoch.
    """

    def __init__(
        self,
        clients: Clients,
        project: str,
        *,
        blobs: Blobs,
        bucket_prefix: str,
        destination: str,
        registry: Registry,
        create_repository: Callable[[str], None],
        also: frozenset[str] = frozenset(),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clients = clients
        self._project = project
        self._blobs = blobs
        self._bucket_prefix = bucket_prefix.rstrip("/")
        self._destination = _checked(destination, also)
        self._registry = registry
        self._create_repository = create_repository
        self._clock = clock

    @property
    def cache_mounts(self) -> bool:
        """Always: the buildspec asks for BuildKit."""
        return True

    def image(self, name: str, tag: str) -> str:
        return f"{self._destination.address}:{tag}"

    def registry(self) -> Registry:
        return self._registry

    def start(self, request: BuildRequest) -> BuildStatus:
        """As `Builder.start`. The context is in the bucket before it returns. Raises Refused, besides when CodeBuild
        takes no more builds now, when the context cannot be packed for lack of room; Invalid for what docker would
        misread."""
        problems = list(_problems(request))
        if problems:
            raise Invalid(problems)
        build = self._find(request.image, request.attempt)
        if build is None:
            key = self._upload(request)
            self._create_repository(request.image)
            build = self._start(request, key)
        return self._judged(build)

    def status(self, build: Build) -> BuildStatus:
        known = self._known(build)
        return BuildStatus(BuildPhase.ABSENT) if known is None else self._judged(known)

    def logs(self, build: Build) -> Iterator[str]:
        """What CodeBuild and docker said, line by line; nothing of a build that has not begun, or whose log has
        expired."""
        known = self._known(build)
        place = None if known is None else log_place(known)
        if place is not None:
            yield from self._log(*place)

    # --- finding

    def _known(self, build: Build) -> BuildTypeDef | None:
        if build.build_id:
            for known in self._get([build.build_id]):
                if is_of(known, build.image, build.attempt):
                    return known
        return self._find(build.image, build.attempt)

    def _find(self, image: str, attempt: int) -> BuildTypeDef | None:
        """The latest one among the project's builds of the last day."""
        following: dict[str, Any] = {}
        for _ in range(MAX_PAGES):
            with translated(f"list the builds of the CodeBuild project {self._project}"):
                page = self._clients.codebuild.list_builds_for_project(
                    projectName=self._project, sortOrder="DESCENDING", **following
                )
            builds = sorted(self._get(page.get("ids", [])), key=_started, reverse=True)
            for build in builds:
                if is_of(build, image, attempt):
                    return build
            following = {"nextToken": page.get("nextToken")}
            if not following["nextToken"] or (builds and _started(builds[-1]) < self._clock() - LOOK_BACK):
                break
        return None

    def _get(self, ids: Sequence[str]) -> list[BuildTypeDef]:
        if not ids:
            return []
        with translated("look at builds of CodeBuild"):
            return self._clients.codebuild.batch_get_builds(ids=ids)["builds"]

    # --- starting

    def _upload(self, request: BuildRequest) -> str:
        with tempfile.TemporaryDirectory(prefix="slipway-build-") as folder:
            packed = Path(folder, "context.zip")
            beside = {
                "Dockerfile": request.dockerfile,
                "arguments": "".join(f"{argument}\0" for argument in _arguments(request)),
                SCRIPT_NAME: SCRIPT,
            }
            key = f"contexts/{pack(Path(request.context), beside, packed)}.zip"
            self._blobs.put(key, packed)
        return key

    def _start(self, request: BuildRequest, key: str) -> BuildTypeDef:
        try:
            with translated(f"start a build in the CodeBuild project {self._project}"):
                return self._clients.codebuild.start_build(**self._order(request, key))["build"]
        except Permanent as error:
            match code_of(error.__cause__) if isinstance(error.__cause__, Exception) else "":
                case "AccountLimitExceededException":
                    fix = (
                        "Service Quotas has CodeBuild's number of concurrently running builds, and raises it on request"
                    )
                    raise Refused(f"{error.message}. {fix}") from error
                case "InvalidInputException":
                    # The token is known with other parameters: another version of Slipway was quicker.
                    other = self._find(request.image, request.attempt)
                    if other is not None:
                        return other
            raise

    def _order(self, request: BuildRequest, key: str) -> dict[str, Any]:
        known = ecr_registry(self._destination.host)
        settings = {
            IMAGE: request.image,
            ATTEMPT: str(request.attempt),
            REGION: known.region if known else self._clients.region,
        }
        order = {
            "projectName": self._project,
            "idempotencyToken": hashlib.sha256(f"{request.image} {request.attempt}".encode()).hexdigest(),
            "sourceTypeOverride": "S3",
            "sourceLocationOverride": f"{self._bucket_prefix}/{key}",
            "buildspecOverride": BUILDSPEC,
            "environmentVariablesOverride": [
                {"name": name, "value": value, "type": "PLAINTEXT"} for name, value in settings.items()
            ],
            # Without it docker has no engine there.
            "privilegedModeOverride": True,
        }
        if compute := request.config.get("compute-type"):
            order["computeTypeOverride"] = compute
        return order

    # --- judging

    def _judged(self, build: BuildTypeDef) -> BuildStatus:
        status = build_status(build)
        place = log_place(build)
        if status.phase is not BuildPhase.FAILED or place is None:
            return status
        return BuildStatus(status.phase, status.build_id, status.reason, self._tail(*place))

    def _tail(self, group: str, stream: str) -> str:
        """A log that cannot be read says so itself: that the build failed is told all the same."""
        try:
            with translated("read the log of a build"):
                answer = self._clients.logs.get_log_events(
                    logGroupName=group, logStreamName=stream, limit=TAIL, startFromHead=False
                )
        except NotFound:
            return ""
        except Permanent as error:
            return error.message
        return "\n".join(log_lines(answer["events"])[-TAIL:])

    def _log(self, group: str, stream: str) -> Iterator[str]:
        place: dict[str, Any] = {"logGroupName": group, "logStreamName": stream}
        while True:
            try:
                with translated("read the log of a build"):
                    page = self._clients.logs.get_log_events(**place, startFromHead=True)
            except NotFound:
                return
            yield from log_lines(page["events"])
            # The same token again is the end of the log.
            if page["nextForwardToken"] == place.get("nextToken"):
                return
            place["nextToken"] = page["nextForwardToken"]


def _checked(destination: str, also: frozenset[str]) -> Destination:
    found = taken_apart(destination)
    on_loopback = found.host.partition(":")[0] in ("127.0.0.1", "localhost")
    if ecr_registry(found.host) is None and found.host not in also and not on_loopback:
        rule = "is not in ECR, the only registry that builds of CodeBuild log in to"
        fix = "Write <account>.dkr.ecr.<region>.amazonaws.com/<repository>, or leave it out."
        raise Invalid(Problem("builder.destination", rule, found.host, fix))
    return found


def _started(build: BuildTypeDef) -> float:
    """Seconds since the Unix epoch; one of which CodeBuild does not say it is the newest."""
    return build["startTime"].timestamp() if "startTime" in build else math.inf


def _arguments(request: BuildRequest) -> list[str]:
    """Further arguments of `docker build`. They travel as a file, each ended by a NUL: no shell ever reads them."""
    arguments = ["--platform", request.platform] if request.platform else []
    for name, value in sorted(request.build_args.items()):
        arguments += ["--build-arg", f"{name}={value}"]
    return arguments


def _problems(request: BuildRequest) -> Iterator[Problem]:
    if rule := not_a_reference(request.image):
        yield Problem("image", rule, request.image)
    if not request.dockerfile.strip():
        yield Problem("dockerfile", "is empty, and the codebuild builder needs one")
    for name, value in request.build_args.items():
        if not name or "=" in name:
            yield Problem("build_args", "a name is not empty and holds no '='", name)
        if "\0" in name or "\0" in value:
            yield Problem(f"build_args.{name!r}", "holds a NUL, which no program's arguments can")
    if not isinstance(request.config.get("compute-type", ""), str):
        rule = "must be one of CodeBuild's compute types, as BUILD_GENERAL1_LARGE"
        yield Problem("builder.compute-type", rule, request.config["compute-type"])
