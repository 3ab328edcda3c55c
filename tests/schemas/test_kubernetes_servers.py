"""What is sent to Kubernetes, held against genuine servers: Jobs by a dry run, custom resources by their CRDs, to the
letter.

The plans are of the examples and of every conformance case. Kubernetes' schemas (1.25 to 1.37) say what each version of
its API takes; the CRD server of 1.36 refuses a field that a CRD does not know, and holds its rules."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests import cluster
from tests.conformance.areas import facts
from tests.conformance.run import CASES
from tests.schemas.kubernetes_schemas import check_all, pods_of, refusals

from slipway.adapters.kubernetes.access import from_kubeconfig
from slipway.adapters.kubernetes.api import Api
from slipway.adapters.kubernetes.build_jobs import job_of
from slipway.adapters.kubernetes.kinds import Kinds
from slipway.cli.main import main
from slipway.errors import Invalid, Permanent
from slipway.model import BuildRequest
from slipway.registries import destination
from slipway.render.build_job import Place
from slipway.render.kaniko import FLAVOUR
from slipway.render.pods import pod_templates

EXAMPLES = Path(__file__).parents[2] / "examples" / "03-kubernetes"
SPEC = EXAMPLES / "submission.json"
GIT = {"entity": "my-team", "project": "digits", "uri": "https://git.example.com/team/digits.git"}
INSTALLED = ("kubeflow.org/v1", "batch.volcano.sh/v1alpha1")
BUILT_IN = ("batch/v1", "v1", "apps/v1")
INCOMPLETE = {
    "k8s-aux-01-Deployment": "resource_args.spec.selector: Required value",
    "k8s-crd-01-Job": "resource_args.tasks: is unknown to the cluster",
}
"""Configs of W&B's own tests that no cluster takes, and which of their fields it names."""
LATER = ("k8s-cron-01-CronJob",)
"""Kinds that the genuine server, 1.20, has not got yet."""

Manifest = dict[str, Any]


def planned(file: str, capsys: Any, *words: str, spec: str = str(SPEC)) -> dict[str, Any]:
    """What `slipway plan` prints for an example."""
    code = main(["plan", "--queue-config", str(EXAMPLES / file), "--spec", spec, "-o", "json", *words])
    told = capsys.readouterr()
    assert code == 0, told.err
    plan: dict[str, Any] = json.loads(told.out)
    return plan


def on_136() -> Api:
    return Api(from_kubeconfig(str(cluster.kubeconfig_136())))


def of_cases(*without: str) -> list[Any]:
    """The manifest of every case of Kubernetes that is not refused, with the services beside it."""
    found = []
    for file in (CASES, CASES.with_name("wandb_runners.json")):
        for case in json.loads(file.read_text())["cases"]:
            if case["area"] == "kubernetes" and "resource_args" in case["input"]:
                with suppress(Invalid):
                    told = facts("kubernetes", case["input"], {"manifest": None, "service_manifest": None})
                    found += [(f"{case['id']}-{body['kind']}", body) for body in told.values() if body]
    return [pytest.param(body, id=name) for name, body in found if name not in without]


def case(name: str) -> Manifest:
    return next(each.values[0] for each in of_cases() if each.id == name)


def takes(api: Api, body: Manifest) -> None:
    """The server creates it, in a dry run where it knows how."""
    kind = Kinds(api).find(body["apiVersion"], body["kind"])
    api._call(
        "POST",
        kind.collection("default"),
        f"try {body['kind']}",
        body={**body, "metadata": {**body["metadata"], "namespace": "default"}},
        query={"dryRun": "All", "fieldValidation": "Strict"},
    )


def test_there_are_many_cases() -> None:
    assert len(of_cases()) >= 50


@pytest.mark.parametrize("body", of_cases(*INCOMPLETE))
def test_the_manifest_of_a_case_is_valid_in_every_version(body: Manifest) -> None:
    """S15, S16."""
    if body["apiVersion"] in BUILT_IN:
        check_all(body)
    else:
        assert not list(refusals(body))
        for pod in pods_of(body):
            check_all(pod)


@pytest.mark.cluster
@pytest.mark.parametrize("body", of_cases(*INCOMPLETE, *LATER))
def test_the_manifest_of_a_case_is_taken_by_a_genuine_server(body: Manifest) -> None:
    """S15. Kinds that no server here knows have their pods tried."""
    api = Api(from_kubeconfig(str(cluster.kubeconfig())))
    if body["apiVersion"] in BUILT_IN:
        takes(api, body)
        return
    for number, template in enumerate(pod_templates(body)):
        pod = {"apiVersion": "v1", "kind": "Pod", **template}
        takes(api, {**pod, "metadata": {**(template.get("metadata") or {}), "name": f"pod-{number}"}})
    if body["apiVersion"] in INSTALLED:
        takes(on_136(), body)


@pytest.mark.cluster
@pytest.mark.parametrize("name", INCOMPLETE)
def test_what_a_case_leaves_out_is_named_by_the_server(name: str) -> None:
    body = case(name)
    api = on_136() if body["apiVersion"] in INSTALLED else Api(from_kubeconfig(str(cluster.kubeconfig())))
    with pytest.raises(Invalid) as caught:
        takes(api, body)
    assert INCOMPLETE[name] in caught.value.message


class TestExamples:
    """examples/03-kubernetes, as `slipway plan` prints them."""

    def test_a_job_on_gpu_nodes(self, capsys: pytest.CaptureFixture[str]) -> None:
        plan = planned("gpu-job.yaml", capsys, "--set-var", "gpus=2")
        body = plan["payload"]["body"]
        assert plan["payload"]["call"] == "POST /apis/batch/v1/namespaces/ml/jobs"
        check_all(body)
        (container,) = body["spec"]["template"]["spec"]["containers"]
        assert container["resources"]["limits"] == {"memory": "64Gi", "nvidia.com/gpu": 2}
        assert container["args"] == ["--epochs", "10"]
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert body["metadata"]["labels"]["team"] == "vision"
        with_nine = ["plan", "--queue-config", str(EXAMPLES / "gpu-job.yaml"), "--spec", str(SPEC)]
        assert main([*with_nine, "--set-var", "gpus=9"]) == 3

    def test_a_pytorchjob_with_two_workers(self, capsys: pytest.CaptureFixture[str]) -> None:
        body = planned("pytorchjob.yaml", capsys)["payload"]["body"]
        replicas = body["spec"]["pytorchReplicaSpecs"]
        assert (replicas["Master"]["replicas"], replicas["Worker"]["replicas"]) == (1, 2)
        images = [pod["spec"]["containers"][0]["image"] for pod in pod_templates(body)]
        assert images == ["registry.example.com/team/train:1.0"] * 2
        for pod in pods_of(body):
            check_all(pod)

    def test_a_gang_of_volcano(self, capsys: pytest.CaptureFixture[str]) -> None:
        plan = planned("volcano.yaml", capsys)
        body = plan["payload"]["body"]
        assert plan["payload"]["call"] == "POST /apis/batch.volcano.sh/v1alpha1/namespaces/ml/jobs"
        assert (body["spec"]["minAvailable"], body["spec"]["tasks"][0]["replicas"]) == (4, 4)
        for pod in pods_of(body):
            check_all(pod)

    def test_a_job_whose_image_kaniko_makes(self, capsys: pytest.CaptureFixture[str]) -> None:
        spec = json.dumps({**GIT, "overrides": {"entry_point": ["python", "train.py"]}})
        plan = planned("kaniko.yaml", capsys, "--no-fetch", spec=spec)
        assert plan["image"]["build"] is None
        check_all(plan["payload"]["body"])
        builder = yaml.safe_load((EXAMPLES / "kaniko.yaml").read_text())["builder"]
        image = f"{builder['destination']}:0123abcd"
        place = Place("ml").pushing_to(destination(builder["destination"]))
        build = job_of(
            FLAVOUR,
            BuildRequest(image, 1, "", "FROM scratch", builder),
            place,
            address="s3://team-builds/contexts/k",
            key="k",
        )
        check_all(build)
        pod = build["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert pod["serviceAccountName"] == builder["kaniko-config"]["spec"]["template"]["spec"]["serviceAccountName"]
        assert {"--context=s3://team-builds/contexts/k", f"--destination={image}", "--cache-ttl=168h"} <= {
            *container["args"]
        }
        assert container["resources"]["requests"] == {"cpu": "2", "memory": "4Gi"}

    @pytest.mark.cluster
    @pytest.mark.parametrize("file", ["pytorchjob.yaml", "volcano.yaml"])
    def test_a_custom_resource_keeps_its_crd(self, file: str, capsys: pytest.CaptureFixture[str]) -> None:
        takes(on_136(), planned(file, capsys)["payload"]["body"])

    @pytest.mark.cluster
    @pytest.mark.parametrize("file", ["pytorchjob.yaml", "volcano.yaml"])
    def test_a_typo_in_one_is_refused_and_named(self, file: str, capsys: pytest.CaptureFixture[str]) -> None:
        body = planned(file, capsys)["payload"]["body"]
        body["spec"]["minAvailabel"] = 1
        with pytest.raises(Permanent, match=r"spec\.minAvailabel: is unknown to the cluster"):
            takes(on_136(), body)
