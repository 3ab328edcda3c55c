"""The deployment that the events in events/aws/ speak of, for functions in containers: on an address that they reach.

Its state is brought about by Slipway's own functions in this process, and by what the stand-ins are told; then an event
is handed to a function elsewhere, and `told` says what there is.
"""

from __future__ import annotations

import os
import tempfile
import urllib.request
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dulwich import porcelain
from tests import services
from tests.git_over_http import GitOverHttp
from tests.standins.aws.codebuild import CodeBuild
from tests.standins.aws.deployment import made
from tests.standins.aws.moto_server import environment
from tests.standins.aws.private_registry import HOST
from tests.standins.aws.sagemaker import SageMakerStandin

from slipway import keys, wire_aws
from slipway.adapters.aws.clients import Clients
from slipway.functions.advance import advance
from slipway.functions.submit import draft
from slipway.machine import BUILDING
from slipway.model import ApiKey, Build, Desired, Item, Queue, State, Topic
from slipway.ports import Ports

NAME = "slipway"
"""Of everything in it; so the ARNs in the events have it."""
KEY = "slip_EXAMPLE-key-of-the-sample-events-0123456789ab"
QUEUE = Queue(
    "team",
    "sagemaker",
    "sagemaker",
    {
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 10},
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
    },
    max_jobs=20,
)
SPEC = {"entity": "team", "project": "digits", "queue": "sagemaker"}
IMAGE = f"{HOST}/digits:1.0"
BUILD_LOG = "ERROR: process did not complete successfully: exit code: 1"
WHO = b"Test <test@example.org>"


@dataclass(frozen=True)
class SampleWorld:
    """One deployment, with a key and a queue and nothing else."""

    aws: Clients
    ports: Ports
    sagemaker: SageMakerStandin
    codebuild: CodeBuild
    environment: Mapping[str, str]
    """What its functions are told, boto3's variables included."""
    repository: str
    """The address of a git repository."""

    # --- what came before the event

    def waiting(self, item_id: str) -> None:
        self._create(self._draft(item_id, {"docker": {"docker_image": IMAGE}}))

    def starting(self, item_id: str) -> str:
        """The name of its training job."""
        self.waiting(item_id)
        advance(item_id, self.ports)
        return f"slipway-{item_id}-1"

    def running(self, item_id: str) -> str:
        name = self.starting(item_id)
        self.sagemaker.train(name)
        advance(item_id, self.ports)
        return name

    def cancelled(self, item_id: str) -> str:
        """It runs, and is asked to stop."""
        name = self.running(item_id)
        self._change(item_id, desired=Desired.STOP)
        advance(item_id, self.ports)
        return name

    def overdue(self, item_id: str) -> None:
        """The time at which the tick was to look at it is past."""
        self._change(item_id, due=self.ports.clock.now() - 1)

    def submitted_code(self, item_id: str) -> None:
        self._create(self._draft(item_id, {"uri": self.repository, "overrides": {"entry_point": ["python", "go.py"]}}))

    def building(self, image: str, *item_ids: str) -> str:
        """The id of the build that all of them wait for."""
        now = self.ports.clock.now()
        variables = {"SLIPWAY_IMAGE": image, "SLIPWAY_ATTEMPT": "1"}
        order = [{"name": name, "value": value, "type": "PLAINTEXT"} for name, value in variables.items()]
        started: Any = self.aws.codebuild.start_build(projectName=NAME, environmentVariablesOverride=order)  # type: ignore[arg-type]
        build_id = str(started["build"]["id"])
        self.ports.store.save_build(Build(image, "codebuild", build_id=build_id))
        for item_id in item_ids:
            item = self._draft(item_id, {"uri": self.repository, "overrides": {"entry_point": ["python", "go.py"]}})
            known = {"image": image, "source_hash": image.rpartition(":")[2], "revision": "0" * 40, "lease": None}
            times = {"due": now + 60, "deadline": now + item.timeouts.build}
            self._create(item.moved(State.BUILDING, now, BUILDING, **known, **times))
        self.codebuild.enter(build_id, "BUILD")
        return build_id

    def build_says(self, build_id: str, line: str) -> None:
        """In its log."""
        build = self.codebuild.builds[build_id]
        place = {"logGroupName": build.group, "logStreamName": build.stream}
        self.aws.logs.create_log_group(logGroupName=build.group)
        self.aws.logs.create_log_stream(**place)
        at = int(self.ports.clock.now() * 1000)
        self.aws.logs.put_log_events(**place, logEvents=[{"timestamp": at, "message": line}])

    def received(self, event: Any) -> Any:
        """The event with receipts by which its messages can be told to SQS, where they lie now as if just delivered.
        An event of another kind is as it was."""
        if "Records" not in event:
            return event
        return {"Records": [{**each, "receiptHandle": self._receipt(each)} for each in event["Records"]]}

    def _receipt(self, record: Mapping[str, Any]) -> str:
        name = record["eventSourceARN"].rpartition(":")[2]
        (url,) = (each for each in self.environment.values() if each.endswith(f"/{name}"))
        self.aws.sqs.send_message(QueueUrl=url, MessageBody=record["body"])
        found = self.aws.sqs.receive_message(QueueUrl=url, VisibilityTimeout=int(wire_aws.VISIBILITY))
        return found["Messages"][0]["ReceiptHandle"]

    def _draft(self, item_id: str, source: Mapping[str, Any]) -> Item:
        return draft({**SPEC, **source}, self.ports).but(id=item_id)

    def _create(self, item: Item) -> None:
        self.ports.store.create(item)

    def _change(self, item_id: str, **changes: Any) -> None:
        self.ports.store.save(self.items()[item_id].but(**changes))

    # --- what there is

    def items(self) -> Mapping[str, Item]:
        return {item.id: item for item in self.ports.store.items()}

    def told(self) -> str:
        """All that the deployment has beyond its one key and queue, in a sentence."""
        contexts = self.aws.s3.list_objects_v2(Bucket=NAME, Prefix="contexts/").get("KeyCount", 0)
        kinds = [
            *_counted("item", map(_state, self.items().values())),
            *_counted("job", (job.status for job in self.sagemaker.jobs.values())),
            *_counted("build", (build.status for build in self.codebuild.builds.values())),
            *_counted("context", ["for a build"] * contexts),
            *_counted("message", (f"to {topic}" for topic in Topic for _ in range(self._messages("QUEUE", topic)))),
            *_counted("dead letter", (f"of {topic}" for topic in Topic for _ in range(self._messages("DEAD", topic)))),
            *_counted("key", ["more"] * (len(self.ports.store.keys()) - 1)),
        ]
        return ", ".join(kinds) or "nothing"

    def _messages(self, kind: str, topic: Topic) -> int:
        """Those that nobody holds."""
        wanted: Any = ["ApproximateNumberOfMessages"]
        url = self.environment[f"SLIPWAY_{kind}_{topic.upper()}"]
        answer = self.aws.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=wanted)
        return int(answer["Attributes"][wanted[0]])


@contextmanager
def sample_world(host: str, moto: str) -> Iterator[SampleWorld]:
    """On `host`, an address of this machine; in place of all that this process's `moto` holds."""
    urllib.request.urlopen(urllib.request.Request(f"{moto}/moto-api/reset", method="POST")).close()
    with (
        SageMakerStandin(host=host) as sagemaker,
        CodeBuild(host=host) as codebuild,
        tempfile.TemporaryDirectory(prefix="slipway-git-") as folder,
        services.web(GitOverHttp(Path(folder)), host) as git,
    ):
        _commit(Path(folder, "digits.git"))
        boto3 = environment(moto, sagemaker=sagemaker.url, codebuild=codebuild.url)
        os.environ.update(boto3)
        aws = Clients()
        # What moto's repositories are asked for is whether they are there.
        aws.ecr.create_repository(repositoryName=NAME)
        codebuild.create_project(NAME)
        open_ = {"SLIPWAY_PRIVATE_ADDRESSES": "true", "SLIPWAY_INSECURE_GIT": "true"}
        told = {**made(aws, NAME, destination=f"{HOST}/{NAME}", **open_), **boto3}
        ports = wire_aws.aws(wire_aws.settings_of(told))
        ports.store.save_queue(QUEUE)
        ports.store.save_key(ApiKey(keys.digest(KEY), keys.EVERY_ENTITY, "sample", ports.clock.now()))
        yield SampleWorld(aws, ports, sagemaker, codebuild, told, f"http://{git}/digits.git")


def _commit(path: Path) -> None:
    path.mkdir()
    with porcelain.init(path) as repo:
        (path / "go.py").write_text("print('gone')\n")
        (path / "requirements.txt").write_text("")
        porcelain.add(repo, [str(path / name) for name in ("go.py", "requirements.txt")])
        porcelain.commit(repo, message=b"A job", author=WHO, committer=WHO)


def _state(item: Item) -> str:
    if item.state is State.FAILED:
        return f"{item.state} in {item.stage}: {item.reason.splitlines()[-1]}"
    return f"{item.state}, to be stopped" if item.desired is Desired.STOP and not item.state.terminal else item.state


def _counted(noun: str, kinds: Iterable[str]) -> Iterator[str]:
    """`2 items running`, for each kind."""
    for kind, number in sorted(Counter(kinds).items()):
        yield f"{number} {noun}{'s' * (number != 1)} {kind}"
