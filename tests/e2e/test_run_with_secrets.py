"""An image that Slipway generates, built by Docker and run as SageMaker runs it: it finds its secrets (S17, S11).

The container has a network in which the address of its credentials is AWS's own, 169.254.170.2. Behind it are the
credentials, and moto behind a guard that checks signatures.
"""

from __future__ import annotations

import os
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from tests import services
from tests.contracts.test_docker_builder import docker_with_buildkit
from tests.docker_engine import docker
from tests.standins.aws.guarded import PATH, GuardedAws
from tests.standins.aws.moto_server import ACCOUNT, REGION, unique
from tests.unit.launches import PLAIN

from slipway.adapters.aws.clients import Clients
from slipway.image import ImagePlan, plan
from slipway.model import GitSource, Job
from slipway.render.sagemaker import request
from slipway.render.secrets import starter
from slipway.render.surroundings import Account

pytestmark = pytest.mark.docker

GATEWAY = "169.254.170.2"
VALUE = "5f3a-läng $HOME"
TRAIN = (
    "import os, sys\nprint(os.environ['WANDB_API_KEY'], os.environ['TOKEN'], os.getuid(), os.getcwd(), *sys.argv[1:])\n"
)
CONFIG: dict[str, Any] = {
    "RoleArn": f"arn:aws:iam::{ACCOUNT}:role/runs",
    "OutputDataConfig": {"S3OutputPath": "s3://bucket/prefix"},
    "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 10},
    "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
}
Ended = subprocess.CompletedProcess[str]
Run = Callable[..., Ended]


@pytest.fixture(scope="module")
def network() -> Iterator[str]:
    """A network of Docker's in which this machine is where AWS has the credentials of containers."""
    services.docker()
    name = f"slipway-test-{uuid.uuid4().hex[:8]}"
    docker("network", "create", "--subnet", "169.254.170.0/24", "--gateway", GATEWAY, name)
    try:
        yield name
    finally:
        docker("network", "rm", name)


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> ImagePlan:
    """The plan of a job that names its own ignore rules, which would leave out whatever is put beside its code."""
    root = tmp_path_factory.mktemp("tree")
    (root / "train.py").write_text(TRAIN)
    (root / ".dockerignore").write_text("*\n!train.py\n")
    job = Job(GitSource("https://git.example.com/digits.git"), entry_point=("python", "train.py"))
    config = {"base_image": services.base_image()}
    return plan(root, job, builder="codebuild", config=config, default_python="3.11", user="0:0", starter=starter())


@pytest.fixture(scope="module", params=["classic", "BuildKit"])
def image(request: pytest.FixtureRequest, planned: ImagePlan) -> Iterator[str]:
    name = f"slipway-test/with-secrets:{uuid.uuid4().hex[:8]}"
    kit = request.param == "BuildKit"
    command = docker_with_buildkit() if kit else services.docker()
    subprocess.run(
        [command, "build", "--quiet", "--tag", name, "--file", "-", str(planned.context)],
        input=planned.dockerfile,
        text=True,
        env={**os.environ, "DOCKER_BUILDKIT": str(int(kit))},
        capture_output=True,
        check=True,
    )
    yield name
    docker("image", "rm", "--force", name)


@pytest.fixture
def guarded(network: str, moto: str) -> Iterator[GuardedAws]:
    guarded = GuardedAws(moto)
    try:
        server = make_server(GATEWAY, 80, guarded, handler_class=_Quiet)
    except PermissionError:
        services.missing("the right to listen on port 80, where AWS has the credentials", "run the tests as root")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield guarded
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def run(network: str, guarded: GuardedAws, planned: ImagePlan, image: str, tmp_path: Path) -> Run:
    """As SageMaker runs a training job: the request's command and environment, its own variables, and /opt/ml."""
    (tmp_path / "output" / "data").mkdir(parents=True)

    def run(secrets: Mapping[str, str]) -> Ended:
        wanted = {"WANDB_API_KEY": "WANDB_API_KEY", "TOKEN": "TOKEN"}
        launch = replace(PLAIN, image=image, entry_point=planned.entry_point, args=("--lr", "1"), secrets=wanted)
        body, _ = request(replace(launch, resource_args=CONFIG), Account(ACCOUNT, secrets=secrets))
        variables = {
            **body["Environment"],
            "AWS_REGION": REGION,
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": PATH,
            "AWS_ENDPOINT_URL": f"http://{GATEWAY}",
        }
        algorithm = body["AlgorithmSpecification"]
        first, *rest = algorithm["ContainerEntrypoint"]
        words = [word for name, value in variables.items() for word in ("--env", f"{name}={value}")]
        return subprocess.run(
            [
                *("docker", "run", "--rm", "--network", network, "--volume", f"{tmp_path}:/opt/ml", *words),
                *("--entrypoint", first, algorithm["TrainingImage"], *rest, *algorithm["ContainerArguments"]),
            ],
            capture_output=True,
            text=True,
            timeout=100,
        )

    return run


def test_a_run_finds_its_secrets_in_its_environment(run: Run, aws: Clients, guarded: GuardedAws) -> None:
    key = aws.secretsmanager.create_secret(Name=unique("wandb"), SecretString=VALUE)["ARN"]
    name = f"/{unique('slipway')}/token"
    aws.ssm.put_parameter(Name=name, Value="token", Type="SecureString")
    ended = run({"WANDB_API_KEY": key, "TOKEN": f"ssm:{name}"})
    assert ended.stderr == ""
    assert ended.stdout == f"{VALUE} token 0 /home/slipway --lr 1\n"
    assert sorted(guarded.calls) == ["AmazonSSM.GetParameter", "secretsmanager.GetSecretValue"]


def test_a_run_that_may_not_read_them_fails_and_says_which_right_it_lacks(
    run: Run, guarded: GuardedAws, tmp_path: Path
) -> None:
    """In its log, and where SageMaker takes FailureReason from."""
    arn = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:wandb-AbCdEf"
    guarded.answers.append(("400 Bad Request", {"__type": "AccessDeniedException", "Message": "Not authorised"}))
    ended = run({"WANDB_API_KEY": arn})
    assert (ended.returncode, ended.stdout) == (77, "")
    assert f"WANDB_API_KEY: the run's role may not read it: allow the role secretsmanager:GetSecretValue on {arn}." in (
        ended.stderr
    )
    assert (tmp_path / "output" / "failure").read_text() == ended.stderr


def test_an_image_started_by_hand_needs_nothing_of_aws(image: str) -> None:
    """Its own entry point goes through the program too."""
    words = ("--env", "WANDB_API_KEY=mine", "--env", "TOKEN=too")
    assert docker("run", "--rm", "--network", "none", *words, image, "2") == "mine too 0 /home/slipway 2"


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Requests of a test are nobody's news."""
