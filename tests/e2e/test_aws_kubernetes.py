"""Runs on an EKS cluster, through the functions on AWS: Jobs that really run on a node of a genuine Kubernetes.

moto keeps state, messages, blobs and secrets. The cluster's entrance takes the tokens that the functions' role signs,
and lets them do what docs/aws.md has a user apply, and no more.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests import cluster, services
from tests.conditions import eventually
from tests.e2e import aws_rights_table as table
from tests.house.sam_template import Deployed
from tests.standins.aws.eks import ME, EksCluster, Entry, eks_cluster
from tests.standins.aws.moto_server import ACCOUNT, HTPASSWD, REGION, unique
from tests.standins.aws.recorder import Recorder
from tests.standins.aws.stack import Stack, deployment

from slipway.adapters.aws.clients import Clients
from slipway.adapters.aws.eks import access, token
from slipway.adapters.kubernetes.access import Access, from_kubeconfig
from slipway.adapters.kubernetes.api import Api
from slipway.errors import Forbidden, Refused
from slipway.model import RunRef

pytestmark = [pytest.mark.docker, pytest.mark.cluster]
SECRET = "wandb-key-0123456789abcdef"
DIGEST = sha256(SECRET.encode()).hexdigest()
NAME = "gpus"
SAYS = "import hashlib, os; print('the key is', hashlib.sha256(os.environ['WANDB_API_KEY'].encode()).hexdigest())"
WAITS = "import threading; print('waiting', flush=True); threading.Event().wait()"
IMAGE = services.BASE_IMAGE
LATER = 130.0
"""Seconds: longer than a run is given to stop, and than the clock's next look is away."""
QUEUE = {
    "resource": "kubernetes",
    "config": {
        "spec": {
            "ttlSecondsAfterFinished": 600,
            "template": {"spec": {"terminationGracePeriodSeconds": 0, "containers": [{}]}},
        }
    },
}


@pytest.fixture
def namespace() -> Iterator[str]:
    """One with the Role of docs/aws.md."""
    services.base_image()
    cluster.node()
    with cluster.namespace("eks") as name:
        for document in manifests(name):
            create(document)
        yield name


@pytest.fixture
def eks(
    aws: Clients, moto: str, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[EksCluster]:
    folder = tmp_path / "eks"
    folder.mkdir()
    behind = from_kubeconfig(str(cluster.kubeconfig()))
    entry = Entry("arn:aws:sts::123456789012:assumed-role/slipway-advance/f", ("slipway",))
    with eks_cluster(NAME, behind, moto, folder, {ME: entry}) as eks:
        monkeypatch.setenv("AWS_ENDPOINT_URL_EKS", eks.api)
        yield eks


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with services.oci_registry(tmp_path_factory.mktemp("ecr"), HTPASSWD) as host:
        yield host


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    return Recorder(monkeypatch)


@pytest.fixture
def secret(aws: Clients) -> str:
    """Its ARN."""
    return aws.secretsmanager.create_secret(Name=unique("wandb"), SecretString=SECRET)["ARN"]


@pytest.fixture
def stack(
    aws: Clients,
    eks: EksCluster,
    recorder: Recorder,
    registry: str,
    secret: str,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Stack]:
    told = {
        "SLIPWAY_EKS_CLUSTER": eks.name,
        "SLIPWAY_KUBERNETES_NAMESPACE": namespace,
        "SLIPWAY_SECRETS": json.dumps({"WANDB_API_KEY": secret}),
    }
    with deployment(aws, registry, monkeypatch, **told) as stack:
        status, answer = stack.ask("PUT", "/v1/queues/team/gpus", QUEUE)
        assert status == 201, answer
        yield stack


def submit(stack: Stack, script: str) -> str:
    """A pre-built image, and what it is to run."""
    spec = {"entity": "team", "project": "digits", "queue": "gpus", "docker": {"docker_image": IMAGE}}
    entry_point = {"entry_point": ["python", "-c", script]}
    status, answer = stack.ask("POST", "/v1/items", {**spec, "overrides": entry_point})
    assert status == 201, answer
    stack.pump()
    return str(answer["id"])


def job(namespace: str) -> Any:
    """The one in the namespace, as an administrator sees it."""
    (found,) = cluster.batch().list_namespaced_job(namespace).items
    return found


def pods(namespace: str) -> list[Any]:
    return list(cluster.core().list_namespaced_pod(namespace).items)


def over(namespace: str) -> bool:
    return any(each.type in ("Complete", "Failed") for each in job(namespace).status.conditions or [])


def looked_at(stack: Stack, item: str) -> Any:
    """The item after the clock's next look."""
    stack.advance(LATER)
    stack.tick()
    stack.pump()
    return stack.item(item)


def manifests(namespace: str) -> list[dict[str, Any]]:
    """What docs/aws.md has a user apply, in this namespace."""
    text = Path(services.ROOT, "docs", "aws.md").read_text()
    (block,) = re.findall(r"<<'MANIFEST'\n(apiVersion: rbac.*?)MANIFEST", text, re.DOTALL)
    return list(yaml.safe_load_all(block.replace("namespace: default", f"namespace: {namespace}")))


def create(document: dict[str, Any]) -> None:
    from kubernetes.client import RbacAuthorizationV1Api

    rbac = RbacAuthorizationV1Api(cluster.client())
    make = {"Role": rbac.create_namespaced_role, "RoleBinding": rbac.create_namespaced_role_binding}
    make[document["kind"]](document["metadata"]["namespace"], document)


def without(namespace: str, resource: str, verb: str) -> None:
    """Takes one right away from the Role."""
    from kubernetes.client import RbacAuthorizationV1Api

    (role, _) = manifests(namespace)
    for rule in role["rules"]:
        if rule["resources"] == [resource]:
            rule["verbs"].remove(verb)
    role["rules"] = [rule for rule in role["rules"] if rule["verbs"]]
    RbacAuthorizationV1Api(cluster.client()).replace_namespaced_role("slipway", namespace, role)


def as_in_the_template(arn: str, stack: Stack, secret: str) -> str:
    if arn == secret:
        return "${SecretArns}"
    return table.in_words(arn, stack).replace(f":cluster/{NAME}", ":cluster/${EksCluster}")


class TestRuns:
    def test_an_image_becomes_a_job_that_gets_its_secret_and_finishes(
        self, stack: Stack, eks: EksCluster, namespace: str
    ) -> None:
        """C4, S15, S21: nothing of Slipway is in the cluster."""
        item = submit(stack, SAYS)
        assert stack.item(item)["state"] == "starting", stack.item(item)["reason"]
        eventually(lambda: over(namespace), within=60)
        ended = looked_at(stack, item)
        assert (ended["state"], ended["exit_code"]) == ("finished", 0), ended["reason"]
        status, log = stack.ask("GET", f"/v1/items/{item}/logs")
        assert (status, log) == (200, f"the key is {DIGEST}\n")
        assert SECRET not in json.dumps(ended)
        assert {user for _, _, user in eks.calls} == {"arn:aws:sts::123456789012:assumed-role/slipway-advance/f"}
        assert eks.refused == []
        assert stack.failures == []

    def test_the_log_is_there_when_the_job_is_not(self, stack: Stack, namespace: str) -> None:
        item = submit(stack, SAYS)
        eventually(lambda: over(namespace), within=60)
        assert looked_at(stack, item)["state"] == "finished"
        name = job(namespace).metadata.name
        cluster.batch().delete_namespaced_job(name, namespace, propagation_policy="Background")
        eventually(lambda: not pods(namespace), within=60)
        assert stack.ask("GET", f"/v1/items/{item}/logs") == (200, f"the key is {DIGEST}\n")

    def test_a_log_is_followed_while_the_run_writes_it(self, stack: Stack, namespace: str) -> None:
        item = submit(stack, WAITS)
        eventually(lambda: [each.status.phase for each in pods(namespace)] == ["Running"], within=60)
        lines = stack.ports().targets("kubernetes").logs(RunRef(item, 1), follow=True)
        assert next(iter(lines)) == "waiting"
        assert not over(namespace)

    def test_a_program_that_fails_tells_its_exit_code(self, stack: Stack, namespace: str) -> None:
        item = submit(stack, "raise SystemExit(7)")
        eventually(lambda: over(namespace), within=60)
        failed = looked_at(stack, item)
        assert (failed["state"], failed["stage"], failed["exit_code"]) == ("failed", "run", 7), failed["reason"]

    def test_a_run_that_is_cancelled_leaves_nothing_in_the_cluster(self, stack: Stack, namespace: str) -> None:
        item = submit(stack, WAITS)
        eventually(lambda: [each.status.phase for each in pods(namespace)] == ["Running"], within=60)
        assert looked_at(stack, item)["state"] == "running"
        assert stack.ask("POST", f"/v1/items/{item}/cancel")[0] == 200
        stack.pump()
        eventually(lambda: not cluster.batch().list_namespaced_job(namespace).items, within=60)
        assert looked_at(stack, item)["state"] == "stopped"
        eventually(lambda: not pods(namespace), within=60)
        opaque = [each for each in cluster.core().list_namespaced_secret(namespace).items if each.type == "Opaque"]
        assert opaque == []

    def test_a_run_that_nobody_wants_is_found_by_the_clock(self, stack: Stack, eks: EksCluster, namespace: str) -> None:
        """Its item was given up: the tick asks every backend what lives there, whatever queues there are."""
        item = submit(stack, WAITS)
        stack.tick()
        assert ("GET", f"/apis/batch/v1/namespaces/{namespace}/jobs") in [call[:2] for call in eks.calls]
        assert job(namespace).metadata.labels["slipway.item"] == item


class TestRights:
    @pytest.mark.parametrize(("resource", "verb"), [("jobs", "create"), ("secrets", "create")])
    def test_a_right_that_is_missing_is_named_as_a_rule_to_be_pasted(
        self, stack: Stack, namespace: str, resource: str, verb: str
    ) -> None:
        without(namespace, resource, verb)
        item = submit(stack, SAYS)
        failed = stack.item(item)
        assert (failed["state"], failed["stage"]) == ("failed", "launch"), failed["reason"]
        group = "batch" if resource == "jobs" else ""
        rule = f'{{apiGroups: ["{group}"], resources: ["{resource}"], verbs: ["{verb}"]}}'
        assert rule in failed["reason"]
        assert f"a Role in namespace {namespace}" in failed["reason"]
        eventually(lambda: not cluster.batch().list_namespaced_job(namespace).items, within=60)

    def test_a_role_that_the_cluster_does_not_know_waits_and_is_told(self, stack: Stack, eks: EksCluster) -> None:
        """A cluster says the same while its own way to ask who we are does not answer."""
        eks.entries.clear()
        item = submit(stack, SAYS)
        waiting = stack.item(item)
        assert (waiting["state"], waiting["stage"]) == ("pending", None)
        assert "the cluster does not know who we are" in waiting["reason"].lower()
        assert set(eks.refused) == {f"{ME} has no access entry"}

    def test_what_the_functions_ask_of_aws_is_what_the_template_allows_them(
        self, stack: Stack, recorder: Recorder, secret: str, namespace: str
    ) -> None:
        item = submit(stack, SAYS)
        eventually(lambda: over(namespace), within=60)
        assert looked_at(stack, item)["state"] == "finished"
        asked = {(use.action, use.resource) for use in recorder.uses}
        assert ("eks:DescribeCluster", f"arn:aws:eks:{REGION}:{ACCOUNT}:cluster/{NAME}") in asked
        assert ("secretsmanager:GetSecretValue", secret) in asked
        mine = {use for use in recorder.uses if use.action.partition(":")[0] in ("eks", "secretsmanager", "s3")}
        written = {use._replace(resource=as_in_the_template(use.resource, stack, secret)) for use in mine}
        assert table.not_allowed(Deployed(EksCluster=NAME, SecretArns=secret), written) == []

    def test_a_function_asks_eks_once_in_its_life(self, stack: Stack, eks: EksCluster) -> None:
        """Each is a process of its own."""
        submit(stack, SAYS)
        asked = eks.described
        submit(stack, SAYS)
        assert eks.described == asked


class TestEntrance:
    """That the stand-in lets nobody in whom EKS would not."""

    def listed(self, aws: Clients, eks: EksCluster, namespace: str, bearer: str | None) -> None:
        known = access(aws, NAME)
        asking = Access(known.server, authority=known.authority, token=lambda: bearer)
        Api(asking).get(f"/apis/batch/v1/namespaces/{namespace}/jobs", "list Jobs")

    def test_a_token_for_this_cluster_is_let_in(self, aws: Clients, eks: EksCluster, namespace: str) -> None:
        self.listed(aws, eks, namespace, token(aws, NAME))
        assert eks.refused == []

    @pytest.mark.parametrize(
        ("bearer", "why"),
        [
            (None, "no token of EKS"),
            ("eyJhbGciOi", "no token of EKS"),
            ("of another cluster", "its signature is of another cluster, or of another key"),
        ],
    )
    def test_no_other_is(self, aws: Clients, eks: EksCluster, namespace: str, bearer: str | None, why: str) -> None:
        given = token(aws, "production") if bearer == "of another cluster" else bearer
        with pytest.raises(Refused, match="Unauthorized"):
            self.listed(aws, eks, namespace, given)
        assert eks.refused == [why]

    def test_a_token_of_another_key_is_not(
        self, aws: Clients, eks: EksCluster, namespace: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-somebody-else")
        with pytest.raises(Refused, match="Unauthorized"):
            self.listed(aws, eks, namespace, token(Clients(), NAME))
        assert eks.refused == ["its signature is of another cluster, or of another key"]

    def test_what_the_group_may_not_do_the_cluster_itself_refuses(
        self, aws: Clients, eks: EksCluster, namespace: str
    ) -> None:
        api = Api(access(aws, NAME))
        with pytest.raises(Forbidden, match=r'verbs: \["list"\]'):
            api.get(f"/api/v1/namespaces/{namespace}/configmaps", "list ConfigMaps")
