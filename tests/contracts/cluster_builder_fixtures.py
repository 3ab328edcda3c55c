"""What the tests of builds in a cluster share: images that build there, a registry, and a namespace of the genuine one.

Pods of builds are on the node's own network, for the registry and the bucket are on its loopback.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
import uuid
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tests import cluster, services
from tests.conditions import eventually
from tests.contracts.builder_contract import FAREWELL, MakeFailingRequest, MakeRequest
from tests.contracts.test_oci_registry import USER
from tests.docker_engine import docker
from tests.standins.aws.moto_server import REGION, unique

from slipway.adapters.aws.blobs import S3Blobs
from slipway.adapters.aws.clients import Clients
from slipway.adapters.kubernetes.access import from_kubeconfig
from slipway.adapters.kubernetes.api import Api
from slipway.adapters.kubernetes.build_jobs import labels_of
from slipway.adapters.kubernetes.builder import ClusterBuilder
from slipway.adapters.kubernetes.contexts import BucketContexts
from slipway.adapters.oci.registry import OciRegistry
from slipway.model import Build, BuildRequest
from slipway.ports import Builder
from slipway.render import buildah, kaniko
from slipway.render.build_job import Flavour, Place

BUILDAH, KANIKO = "slipway-test/buildah:1", "slipway-test/kaniko:1"
MakeBuilder = Callable[..., ClusterBuilder]
RULES: dict[tuple[str, str], tuple[str, ...]] = {
    ("batch", "jobs"): ("create", "get", "list"),
    ("", "secrets"): ("create", "get"),
    ("", "pods"): ("list",),
    ("", "pods/log"): ("get",),
    ("", "events"): ("list",),
}
"""What Slipway may in a namespace where builds run (docs/kaniko.md); ConfigMaps it makes only for Kaniko."""
RIGHTS = [(group, what, verb) for (group, what), verbs in RULES.items() for verb in verbs]
NOWHERE = {"nodeSelector": {"kubernetes.io/os": "plan9"}}
"""For builds whose objects matter, and not their end: no node has it."""


@cache
def buildah_image() -> str:
    """Made here when it is not there, as is the one that takes Kaniko's place."""
    services.docker()
    made = subprocess.run([services.ROOT / "tools" / "buildah-image", BUILDAH], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    docker("build", "--quiet", "--tag", KANIKO, str(services.ROOT / "tests" / "standins" / "kaniko"))
    return BUILDAH


@contextmanager
def registry_with_base(folder: Path, htpasswd: str = "") -> Iterator[str]:
    """A registry that has a base image of 2 MB, `base:1`: busybox and nothing else."""
    busybox = subprocess.run(
        ["docker", "run", "--rm", buildah_image(), "cat", "/bin/busybox"], capture_output=True, check=True
    ).stdout
    with services.oci_registry(folder, htpasswd) as host:
        _import(f"{host}/base:1", busybox)
        # Not the login of whoever runs the tests: a folder of its own.
        config = ["--config", str(folder)]
        if htpasswd:
            login = ["docker", *config, "login", "--username", USER[0], "--password-stdin", host]
            subprocess.run(login, input=USER[1].encode(), capture_output=True, check=True)
        docker(*config, "push", "--quiet", f"{host}/base:1")
        docker("image", "rm", f"{host}/base:1")
        yield host


def _import(image: str, busybox: bytes) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo("bin/busybox")
        member.size, member.mode = len(busybox), 0o755
        archive.addfile(member, io.BytesIO(busybox))
        for name in ("sh", "cat", "readlink"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
    subprocess.run(["docker", "import", "-", image], input=packed.getvalue(), capture_output=True, check=True)


class ClusterBuilderFixtures:
    """Of both flavours; a binding says which it is."""

    flavour: Flavour
    kind: str
    image: str
    within = 60.0

    @pytest.fixture(scope="class")
    @classmethod
    def host(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
        with registry_with_base(tmp_path_factory.mktemp("registry")) as host:
            yield host

    @pytest.fixture(scope="class")
    @classmethod
    def namespace(cls) -> Iterator[str]:
        cluster.node()
        with cluster.namespace("build") as name:
            yield name

    @pytest.fixture
    def api(self) -> Api:
        return Api(from_kubeconfig(str(cluster.kubeconfig())))

    @pytest.fixture
    def bucket(self, aws: Clients) -> str:
        name = unique("contexts")
        aws.s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
        return name

    @pytest.fixture
    def destination(self, host: str) -> str:
        return f"{host}/{unique('jobs')}"

    @pytest.fixture
    def make_builder(self, api: Api, aws: Clients, bucket: str, namespace: str, destination: str) -> MakeBuilder:
        def make(**changes: Any) -> ClusterBuilder:
            settings: dict[str, Any] = {
                "api": api,
                "contexts": lambda _: BucketContexts(S3Blobs(aws, bucket, "slipway/"), f"s3://{bucket}/slipway/"),
                "place": Place(namespace=namespace),
                "destination": destination,
                "registry": OciRegistry(),
            }
            return ClusterBuilder(flavour=self.flavour, **{**settings, **changes})

        return make

    @pytest.fixture
    def builder(self, make_builder: MakeBuilder) -> ClusterBuilder:
        return make_builder()

    @pytest.fixture
    def fresh_builder(self, make_builder: MakeBuilder) -> ClusterBuilder:
        return make_builder(api=Api(from_kubeconfig(str(cluster.kubeconfig()))))

    def config(self, moto: str, pod: Mapping[str, Any] = {}, **container: Any) -> dict[str, Any]:
        """The queue's `builder`: the node's network, and for Kaniko the keys and the address of the bucket."""
        env = {
            "AWS_ENDPOINT_URL": moto,
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "as-good-as-any-to-moto",
        }
        one = {"env": [{"name": name, "value": value} for name, value in env.items()], **container}
        spec = {"hostNetwork": True, "terminationGracePeriodSeconds": 0, "containers": [one], **pod}
        fragment = {"spec": {"template": {"spec": spec}}}
        return {"type": self.kind, f"{self.kind}-image": self.image, self.flavour.fragment: fragment}

    @pytest.fixture
    def request_(self, builder: ClusterBuilder, host: str, moto: str, tmp_path: Path) -> MakeRequest:
        dockerfile = f"FROM {host}/base:1\nARG COLOUR=none\nENV COLOUR=$COLOUR\nWORKDIR /job\nCOPY . /job\n"

        def make(files: dict[str, str], **changes: object) -> BuildRequest:
            context = tmp_path / "contexts" / uuid.uuid4().hex
            context.mkdir(parents=True)
            for name, text in files.items():
                path = context / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            tag = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()[:24]
            plain = BuildRequest(builder.image("digits", tag), 1, str(context), dockerfile, self.config(moto))
            return replace(plain, **changes)  # type: ignore[arg-type]

        return make

    @pytest.fixture
    def failing_request(self, request_: MakeRequest) -> MakeFailingRequest:
        said = "".join(f"echo line {number}; " for number in range(60))

        def make() -> BuildRequest:
            request = request_({"train.py": "print(1)"})
            return replace(request, dockerfile=f"{request.dockerfile}RUN {said} echo '{FAREWELL}'; exit 1\n")

        return make

    def times_built(self, builder: Builder, request: BuildRequest) -> int:
        """How many pods there were; the namespace keeps them as long as their Job."""
        return len(pods_of(request))

    def build_of(self, request: BuildRequest) -> Build:
        """As its record is once its start has come to its end."""
        ids = [f"{job.metadata.namespace}/{job.metadata.name}" for job in jobs_of(request)]
        return Build(request.image, self.kind, request.attempt, next(iter(ids), None))


class Kaniko(ClusterBuilderFixtures):
    flavour, kind, image = kaniko.FLAVOUR, "kaniko", KANIKO


class Buildah(ClusterBuilderFixtures):
    flavour, kind, image = buildah.FLAVOUR, "buildah", BUILDAH


def selector(request: BuildRequest) -> str:
    return ",".join(f"{name}={value}" for name, value in labels_of(request.image, request.attempt).items())


def jobs_of(request: BuildRequest) -> Sequence[Any]:
    return cluster.batch().list_job_for_all_namespaces(label_selector=selector(request)).items  # type: ignore[no-any-return]


def pods_of(request: BuildRequest) -> Sequence[Any]:
    return cluster.core().list_pod_for_all_namespaces(label_selector=selector(request)).items  # type: ignore[no-any-return]


def secrets_of(request: BuildRequest) -> Sequence[Any]:
    return cluster.core().list_secret_for_all_namespaces(label_selector=selector(request)).items  # type: ignore[no-any-return]


def remove(request: BuildRequest) -> None:
    """Its Job, and by the cluster's own hand what goes with it."""
    for job in jobs_of(request):
        name, namespace = job.metadata.name, job.metadata.namespace
        cluster.batch().delete_namespaced_job(name, namespace, propagation_policy="Background")
    eventually(lambda: not jobs_of(request))


def api_of_account(namespace: str, without: tuple[str, str, str] | None) -> Api:
    """As a service account that has RULES in this namespace, but for one verb of one."""
    from kubernetes.client import RbacAuthorizationV1Api

    name = "-".join(("slipway", *(each.replace("/", ".") for each in without or () if each)))
    rules = [
        {"apiGroups": [group], "resources": [what], "verbs": kept}
        for (group, what), verbs in RULES.items()
        if (kept := [verb for verb in verbs if (group, what, verb) != without])
    ]
    rbac = RbacAuthorizationV1Api(cluster.client())
    cluster.core().create_namespaced_service_account(namespace, {"metadata": {"name": name}})
    rbac.create_namespaced_role(namespace, {"metadata": {"name": name}, "rules": rules})
    subject = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
    rbac.create_namespaced_role_binding(
        namespace, {"metadata": {"name": name}, "subjects": [subject], "roleRef": reference}
    )
    held = eventually(lambda: cluster.core().read_namespaced_service_account(name, namespace).secrets)
    token = b64decode(cluster.core().read_namespaced_secret(held[0].name, namespace).data["token"]).decode()
    administrator = from_kubeconfig(str(cluster.kubeconfig()))
    return Api(replace(administrator, token=lambda: token, certificate_file=None, key_file=None, basic=None))
