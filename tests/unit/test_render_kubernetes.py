"""A run as a manifest: what the queue's owner says stands, and what is not said is Slipway's and restricted."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.documents import attempt, problems_of
from tests.unit.launches import containers_in, launched, manifests

from slipway.errors import Invalid
from slipway.model import ArchiveSource, Code, GitSource, RunRef
from slipway.render import Surroundings, payload
from slipway.render.kubernetes import HELPERS, collection, manifest, service
from slipway.render.surroundings import Cluster

CLUSTER = Cluster()
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
REVISION = "0123456789abcdef0123456789abcdef01234567"
CODE = Code(GitSource("https://git.example.com/team/digits.git"), REVISION)
IMAGE = {"WANDB_DOCKER": "mine:2", "WANDB_RUN_ID": "run7"}
"""The variables of a run whose image was submitted."""


def rendered(config: Any = None, *, cluster: Cluster = CLUSTER, **changes: Any) -> dict[str, Any]:
    return manifest(launched(resource_args=config or {}, **changes), cluster)


def pod(**spec: Any) -> dict[str, Any]:
    """A Job's config with this pod spec."""
    return {"spec": {"template": {"spec": spec}}}


def containers(body: dict[str, Any]) -> list[dict[str, Any]]:
    return list(body["spec"]["template"]["spec"]["containers"])


def container(config: Any = None, **changes: Any) -> dict[str, Any]:
    return containers(rendered(config, **changes))[0]


def variables(one: dict[str, Any]) -> dict[str, Any]:
    assert len({each["name"] for each in one["env"]}) == len(one["env"])
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in one["env"]}


def refused(config: Any, **changes: Any) -> dict[str, Any]:
    return problems_of(lambda: rendered(config, **changes))


# --- a Job and its defaults


def test_a_queue_without_a_config_is_a_job_with_the_defaults() -> None:
    """S16."""
    body = rendered()
    assert (body["apiVersion"], body["kind"]) == ("batch/v1", "Job")
    assert (body["spec"]["backoffLimit"], body["spec"]["ttlSecondsAfterFinished"]) == (0, 60)
    assert body["spec"]["template"]["spec"]["restartPolicy"] == "Never"
    (one,) = containers(body)
    assert (one["name"], one["image"], one["command"]) == (
        "launch0",
        "registry.example.com/team/train:1",
        ["python", "train.py"],
    )
    assert one["securityContext"] == RESTRICTED


def test_what_the_config_says_goes_over_the_defaults() -> None:
    """S15: every field is under the user's control."""
    config = {
        "metadata": {"annotations": {"a": "b"}},
        "spec": {
            "backoffLimit": 2,
            "ttlSecondsAfterFinished": 5,
            "parallelism": 3,
            "template": {"spec": {"restartPolicy": "OnFailure", "nodeSelector": {"gpu": "yes"}}},
        },
    }
    body = rendered(config)
    assert (body["spec"]["backoffLimit"], body["spec"]["ttlSecondsAfterFinished"], body["spec"]["parallelism"]) == (
        *(2, 5, 3),
    )
    assert body["metadata"]["annotations"] == {"a": "b"}
    spec = body["spec"]["template"]["spec"]
    assert (spec["restartPolicy"], spec["nodeSelector"]) == ("OnFailure", {"gpu": "yes"})


@pytest.mark.parametrize("empty", [None, ""])
def test_a_kind_that_is_empty_is_a_job(empty: object) -> None:
    body = rendered({"apiVersion": empty, "kind": empty, "spec": None, "metadata": None})
    assert (body["apiVersion"], body["kind"], body["spec"]["backoffLimit"]) == ("batch/v1", "Job", 0)


def test_containers_without_a_name_are_numbered() -> None:
    args = pod(containers=[{}, {"name": "own"}, {}])
    assert [one["name"] for one in containers(rendered(args))] == ["launch0", "own", "launch2"]


@given(st.dictionaries(st.sampled_from(HELPERS), st.text(min_size=1)))
def test_words_for_w_and_bs_agent_are_never_sent(helpers: dict[str, str]) -> None:
    assert not rendered(helpers).keys() & set(HELPERS)


# --- what it is called, and where it is


def test_the_name_is_a_function_of_item_and_attempt() -> None:
    assert rendered()["metadata"]["name"] == "slipway-item7-1"
    assert rendered(run=RunRef("item7", 3))["metadata"]["name"] == "slipway-item7-3"
    assert "generateName" not in rendered({"metadata": {"generateName": "x-"}})["metadata"]


def test_a_name_of_the_queues_own_is_kept_and_unique_per_attempt() -> None:
    config = {"metadata": {"name": "train-digits"}}
    assert rendered(config)["metadata"]["name"] == "train-digits"
    assert rendered(config, run=RunRef("item7", 2))["metadata"]["name"] == "train-digits-2"


@pytest.mark.parametrize(
    ("config", "namespace"),
    [
        ({"metadata": {"namespace": "a"}, "namespace": "b"}, "a"),
        ({"namespace": "b"}, "b"),
        ({}, "ml"),
    ],
)
def test_the_namespace_is_the_manifests_else_the_configs_else_the_clusters(config: Any, namespace: str) -> None:
    """S15."""
    body = rendered(config, cluster=Cluster(namespace="ml"))
    assert body["metadata"]["namespace"] == namespace
    assert collection(body) == f"/apis/batch/v1/namespaces/{namespace}/jobs"


def test_the_job_and_its_pods_are_labelled_and_keep_their_own_labels() -> None:
    own = {"team": "vision", "wandb.ai/run-id": "forged", "slipway.item": "forged"}
    config = {"metadata": {"labels": own}, "spec": {"template": {"metadata": {"labels": own}}}}
    body = rendered(config, cluster=Cluster(agent="blue"))
    labels, of_pod = body["metadata"]["labels"], body["spec"]["template"]["metadata"]["labels"]
    ours = {"wandb.ai/monitor": "true", "wandb.ai/agent": "blue", "slipway.item": "item7", "slipway.attempt": "1"}
    assert labels == {**own, "wandb.ai/run-id": "run7", **ours}
    assert of_pod == {**own, **ours}


# --- images


def test_an_image_that_was_submitted_is_the_first_containers_of_a_job() -> None:
    args = pod(containers=[{"image": "own:1"}, {"image": "side:1"}])
    assert [one["image"] for one in containers(rendered(args, env=IMAGE, image="mine:2"))] == ["mine:2", "side:1"]


def test_an_image_that_was_built_goes_where_there_is_none() -> None:
    args = pod(containers=[{"image": "own:1"}, {}])
    assert [one["image"] for one in containers(rendered(args, image="built:1"))] == ["own:1", "built:1"]


@pytest.mark.parametrize("env", [IMAGE, {}])
def test_in_other_kinds_an_image_of_the_configs_own_stands(env: dict[str, str]) -> None:
    master, worker = replicas(pytorch({"image": "own:1"}, {}), env=env, image="run:1")
    assert (master["image"], worker["image"]) == ("own:1", "run:1")


# --- commands


@pytest.mark.parametrize(
    ("given", "overriding", "command"),
    [
        (None, False, ["python", "train.py"]),
        (None, True, ["python", "train.py"]),
        (["own"], False, ["own"]),
        (["own"], True, ["python", "train.py"]),
    ],
)
def test_a_job_gives_way_to_the_configs_command_and_a_submission_does_not(
    given: list[str] | None, overriding: bool, command: list[str]
) -> None:
    args = pod(containers=[{"command": given} if given else {}])
    assert container(args, overriding=overriding)["command"] == command


def test_without_an_entry_point_the_image_runs_as_it_is() -> None:
    assert "command" not in container(entry_point=(), overriding=True)
    assert container(pod(containers=[{"command": ["own"]}]), entry_point=(), overriding=True)["command"] == ["own"]


def test_a_submissions_args_go_over_the_configs_in_every_container() -> None:
    args = pod(containers=[{"args": ["--own"]}, {}])
    assert [one.get("args") for one in containers(rendered(args))] == [["--own"], None]
    assert [one["args"] for one in containers(rendered(args, args=("--lr", "1")))] == [["--lr", "1"]] * 2


# --- variables


def test_every_container_of_a_job_is_told_which_run_it_is() -> None:
    own = [{"name": "A", "value": "b"}, {"name": "WANDB_RUN_ID", "value": "forged"}]
    for one in containers(rendered(pod(containers=[{"env": own}, {}]))):
        told = variables(one)
        assert (told["WANDB_RUN_ID"], told["SLIPWAY_ITEM"]) == ("run7", "item7")
    assert variables(containers(rendered(pod(containers=[{"env": own}])))[0])["A"] == "b"


def test_in_other_kinds_one_container_alone_has_the_run_id() -> None:
    """Replicas that shared a run id would write over each other."""
    master, worker = replicas(pytorch({}, {}))
    assert variables(master)["WANDB_RUN_ID"] == "run7"
    assert "WANDB_RUN_ID" not in variables(worker)
    assert variables(worker)["WANDB_PROJECT"] == "digits"


def test_a_secret_is_a_reference_to_the_runs_own_which_its_pods_wait_for() -> None:
    secrets = {"WANDB_API_KEY": "WANDB_API_KEY", "HF_TOKEN": "OF_TEAM"}
    told = variables(container(secrets=secrets))
    assert told["WANDB_API_KEY"] == {"secretKeyRef": {"name": "slipway-item7-1", "key": "WANDB_API_KEY"}}
    assert told["HF_TOKEN"] == {"secretKeyRef": {"name": "slipway-item7-1", "key": "HF_TOKEN"}}


def test_a_secret_that_is_there_for_all_runs_may_be_absent() -> None:
    secrets = {"WANDB_API_KEY": "WANDB_API_KEY", "HF_TOKEN": "OF_TEAM"}
    helm = variables(container(cluster=Cluster(secret="wandb", secret_key="password"), secrets=secrets))
    assert helm["WANDB_API_KEY"]["secretKeyRef"] == {"name": "wandb", "key": "password", "optional": True}
    assert helm["HF_TOKEN"]["secretKeyRef"]["key"] == "OF_TEAM"


def test_a_key_in_the_config_gives_way_to_the_reference() -> None:
    own = [{"name": "WANDB_API_KEY", "value": "hunter2"}]
    assert "hunter2" not in json.dumps(rendered(pod(containers=[{"env": own}, {"env": own}])))


# --- the security context


@pytest.mark.parametrize(
    ("own", "context"),
    [
        (None, RESTRICTED),
        ({}, RESTRICTED),
        ({"runAsUser": 0}, {**RESTRICTED, "runAsUser": 0}),
        ({"allowPrivilegeEscalation": True}, {**RESTRICTED, "allowPrivilegeEscalation": True}),
        ({"capabilities": {"drop": []}}, {**RESTRICTED, "capabilities": {"drop": []}}),
        (
            {"capabilities": {"add": ["NET_BIND_SERVICE"]}},
            {**RESTRICTED, "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}},
        ),
        ({"seccompProfile": {"type": "Unconfined"}}, {**RESTRICTED, "seccompProfile": {"type": "Unconfined"}}),
        ({"privileged": True}, {"privileged": True}),
        ({"privileged": False}, {**RESTRICTED, "privileged": False}),
    ],
)
def test_what_the_owner_says_of_a_security_context_stands_and_the_rest_is_restricted(own: Any, context: Any) -> None:
    """S16, key by key."""
    args = pod(containers=[{"securityContext": own}], initContainers=[{"name": "i", "securityContext": own}])
    body = rendered(args)
    assert containers(body)[0]["securityContext"] == context
    assert body["spec"]["template"]["spec"]["initContainers"][0]["securityContext"] == context


def test_what_the_api_refuses_together_is_not_put_together() -> None:
    """A container with CAP_SYS_ADMIN may escalate: https://kubernetes.io/docs/tasks/configure-pod-container/
    security-context/"""
    own = {"capabilities": {"add": ["CAP_SYS_ADMIN"]}}
    context = container(pod(containers=[{"securityContext": own}]))["securityContext"]
    assert "allowPrivilegeEscalation" not in context
    assert context["capabilities"] == {"drop": ["ALL"], "add": ["CAP_SYS_ADMIN"]}


def test_the_pods_own_seccomp_profile_is_its_containers() -> None:
    """S16."""
    profile = {"seccompProfile": {"type": "Localhost", "localhostProfile": "audit.json"}}
    body = rendered(pod(securityContext={**profile, "runAsNonRoot": True}, containers=[{}]))
    assert "seccompProfile" not in containers(body)[0]["securityContext"]
    assert body["spec"]["template"]["spec"]["securityContext"] == {**profile, "runAsNonRoot": True}


@given(manifests)
def test_every_container_anywhere_is_restricted_where_its_owner_says_nothing(config: dict[str, Any]) -> None:
    """S16."""
    body = rendered(config)
    before, after = list(containers_in(config)), list(containers_in(body))
    assert len(after) >= len(before)
    for one in after:
        context = one["securityContext"]
        if context.get("privileged"):
            continue
        for key, value in RESTRICTED.items():
            said = any(key in (own.get("securityContext") or {}) for own in before)
            assert key in context or "CAP_SYS_ADMIN" in context["capabilities"]["add"]
            assert said or key == "allowPrivilegeEscalation" or context[key] == value


# --- other kinds


def pytorch(master: dict[str, Any], worker: dict[str, Any]) -> dict[str, Any]:
    """S15's example: Master and Worker replicas."""

    def replica(container: dict[str, Any]) -> dict[str, Any]:
        return {"replicas": 1, "template": {"spec": {"containers": [{"name": "pytorch", **container}]}}}

    specs = {"Master": replica(master), "Worker": replica(worker)}
    return {"apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "spec": {"pytorchReplicaSpecs": specs}}


def replicas(config: dict[str, Any], **changes: Any) -> list[dict[str, Any]]:
    body = rendered(config, **changes)
    return list(containers_in(body))


def volcano() -> dict[str, Any]:
    task = {"replicas": 2, "name": "node", "template": {"spec": {"containers": [{"image": "${image_uri}"}]}}}
    return {
        "apiVersion": "batch.volcano.sh/v1alpha1",
        "kind": "Job",
        "spec": {"minAvailable": 2, "schedulerName": "volcano", "tasks": [task, copy.deepcopy(task)]},
    }


def jobset() -> dict[str, Any]:
    job = {"name": "w", "template": {"spec": {"template": {"spec": {"containers": [{"name": "w"}]}}}}}
    return {"apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet", "spec": {"replicatedJobs": [job]}}


def cron() -> dict[str, Any]:
    inner = {"template": {"spec": {"containers": [{"name": "c"}], "restartPolicy": "Never"}}}
    return {"kind": "CronJob", "spec": {"schedule": "0 0 * * *", "jobTemplate": {"spec": inner}}}


@pytest.mark.parametrize(
    ("config", "where", "count"),
    [
        (pytorch({}, {}), "/apis/kubeflow.org/v1/namespaces/default/pytorchjobs", 2),
        (volcano(), "/apis/batch.volcano.sh/v1alpha1/namespaces/default/jobs", 2),
        (jobset(), "/apis/jobset.x-k8s.io/v1alpha2/namespaces/default/jobsets", 1),
        (cron(), "/apis/batch/v1/namespaces/default/cronjobs", 1),
        (
            {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "p"}]}},
            "/api/v1/namespaces/default/pods",
            1,
        ),
    ],
)
def test_an_object_of_any_kind_is_sent_as_it_is_with_its_pods_filled_in(
    config: dict[str, Any], where: str, count: int
) -> None:
    """S15."""
    body = rendered(config)
    assert collection(body) == where
    assert not {"backoffLimit", "ttlSecondsAfterFinished", "template"} & body["spec"].keys()
    assert body["metadata"]["labels"]["wandb.ai/monitor"] == "true"
    found = list(containers_in(body))
    assert len(found) == count
    for one in found:
        assert one["securityContext"] == RESTRICTED
        assert variables(one)["WANDB_PROJECT"] == "digits"
        assert one["command"] == ["python", "train.py"]
    labelled = json.dumps(body).count('"slipway.item": "item7"')
    assert labelled >= 1 + count if config["kind"] != "Pod" else labelled == 1


def test_the_kind_and_the_version_are_named_together() -> None:
    assert refused({"apiVersion": "kubeflow.org/v1"}).keys() == {"resource_args.kind"}
    assert refused({"kind": "PyTorchJob"}).keys() == {"resource_args.apiVersion"}


# --- services


DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "Redis_Cache!", "labels": {"own": "x"}},
    "spec": {
        "template": {
            "metadata": {"labels": {"app": "redis"}},
            "spec": {"containers": [{"name": "Re_Dis", "image": "redis", "env": [{"name": "My_Var", "value": "1"}]}]},
        }
    },
}


def test_a_service_is_named_labelled_restricted_and_in_the_runs_namespace() -> None:
    told = launched(
        entity="Team_A", env={"WANDB_CONFIG": "{}", "WANDB_RUN_ID": "run7"}, resource_args={"namespace": "ml"}
    )
    body = service(DEPLOYMENT, told, CLUSTER)
    labels = body["metadata"]["labels"]
    assert (body["metadata"]["name"], body["metadata"]["namespace"]) == ("redis-cache", "ml")
    assert labels["own"] == "x"
    assert labels["wandb.ai/auxiliary-resource"] == "aux-team-a-digits-run7"
    template = body["spec"]["template"]
    assert template["metadata"]["labels"]["app"] == "redis"
    assert template["metadata"]["labels"]["slipway.item"] == "item7"
    (one,) = template["spec"]["containers"]
    assert one["name"] == "re-dis"
    assert one["securityContext"] == RESTRICTED
    assert variables(one).keys() == {"My_Var", "WANDB_CONFIG", "WANDB_API_KEY"}


def test_a_service_elsewhere_is_refused() -> None:
    """A submitter does not choose in which namespace Slipway creates things."""
    elsewhere = {**DEPLOYMENT, "metadata": {"name": "x", "namespace": "kube-system"}}
    problems = problems_of(lambda: service(elsewhere, launched(), CLUSTER))
    assert problems.keys() == {"additional_services.config.metadata.namespace"}
    assert service({**DEPLOYMENT, "metadata": {"name": "x", "namespace": "default"}}, launched(), CLUSTER)


@pytest.mark.parametrize(
    "metadata", [None, {}, {"name": ""}, {"generateName": "x-"}, {"name": "x", "generateName": "x-"}]
)
def test_a_service_that_the_cluster_would_name_is_refused(metadata: Any) -> None:
    """A start that is repeated would make another."""
    problems = problems_of(lambda: service({**DEPLOYMENT, "metadata": metadata}, launched(), CLUSTER))
    assert problems.keys() == {"additional_services.config.metadata.name"}


def test_the_problems_of_the_run_and_of_its_services_are_told_together() -> None:
    bad = {"kind": "Pod", "spec": {"containers": [{"env": 5}]}}
    told = launched(resource_args={"metadata": "x"}, services=(DEPLOYMENT, bad))
    problems = problems_of(lambda: payload("kubernetes", told, Surroundings()))
    assert problems.keys() == {
        "resource_args.metadata",
        "additional_services[1].config.spec.containers[0].env",
    }


def test_services_are_beside_the_run_in_their_order() -> None:
    told = launched(services=(DEPLOYMENT, {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "redis"}}))
    assert [each["kind"] for each in payload("kubernetes", told, Surroundings()).beside] == ["Deployment", "Service"]


# --- Argo's Workflows


def argo(*templates: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "spec": {"entrypoint": "main", "templates": list(templates), **spec},
    }


def test_the_container_of_an_argo_template_is_a_container_of_the_run() -> None:
    """It is a mapping, where any other kind has a list."""
    own = {"image": "own:1", "command": ["own"], "securityContext": {"runAsUser": 0}}
    body = rendered(argo({"name": "main", "container": {}}, {"name": "after", "container": own}))
    first, second = (each["container"] for each in body["spec"]["templates"])
    assert (first["image"], first["command"]) == ("registry.example.com/team/train:1", ["python", "train.py"])
    assert (second["image"], second["command"]) == ("own:1", ["own"])
    assert variables(first)["WANDB_RUN_ID"] == "run7"
    assert "WANDB_RUN_ID" not in variables(second)
    assert variables(second)["SLIPWAY_ITEM"] == "item7"
    assert (first["securityContext"], second["securityContext"]) == (RESTRICTED, {**RESTRICTED, "runAsUser": 0})


def test_a_script_of_argos_runs_its_source() -> None:
    script = {"command": ["python"], "source": "print(1)"}
    body = rendered(argo({"name": "main", "script": script}), overriding=True, args=("--lr", "1"))
    (one,) = (each["script"] for each in body["spec"]["templates"])
    assert (one["command"], one["source"], one["image"]) == (
        ["python"],
        "print(1)",
        "registry.example.com/team/train:1",
    )
    assert "args" not in one
    assert variables(one)["WANDB_RUN_ID"] == "run7"
    assert one["securityContext"] == RESTRICTED


def test_what_stands_beside_argos_container_is_restricted_and_no_container_of_the_run() -> None:
    template = {"name": "main", "container": {}, "sidecars": [{"name": "s"}], "initContainers": [{"name": "i"}]}
    (one,) = rendered(argo(template))["spec"]["templates"]
    assert one["sidecars"] == [{"name": "s", "securityContext": RESTRICTED}]
    assert one["initContainers"] == [{"name": "i", "securityContext": RESTRICTED}]


@pytest.mark.parametrize(
    ("whole", "own"),
    [({"seccompProfile": {"type": "Unconfined"}}, {}), ({}, {"seccompProfile": {"type": "Unconfined"}})],
)
def test_a_seccomp_profile_of_a_workflow_or_of_its_template_stands(whole: Any, own: Any) -> None:
    body = rendered(argo({"name": "main", "container": {}, "securityContext": own}, securityContext=whole))
    (one,) = body["spec"]["templates"]
    assert "seccompProfile" not in one["container"]["securityContext"]
    assert one["container"]["securityContext"]["allowPrivilegeEscalation"] is False


def test_the_pods_of_a_workflow_are_labelled_and_keep_their_own_labels() -> None:
    own = {"team": "vision", "slipway.item": "forged"}
    templates = ({"name": "a", "container": {}, "metadata": {"labels": own}}, {"name": "b", "container": {}})
    body = rendered(argo(*templates, podMetadata={"annotations": {"a": "b"}, "labels": own}))
    ours = {"wandb.ai/monitor": "true", "wandb.ai/agent": "slipway", "slipway.item": "item7", "slipway.attempt": "1"}
    assert body["spec"]["podMetadata"] == {"annotations": {"a": "b"}, "labels": {**own, **ours}}
    assert body["metadata"]["labels"]["slipway.item"] == "item7"
    first, second = body["spec"]["templates"]
    # A template's own labels would go over those of all pods.
    assert first["metadata"]["labels"] == {**own, **ours}
    assert "metadata" not in second


def test_templates_within_a_step_and_those_of_a_cron_workflow_are_found() -> None:
    inline = {"name": "steps", "dag": {"tasks": [{"name": "t", "inline": {"container": {}}}]}}
    cron = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "CronWorkflow",
        "spec": {"workflowSpec": argo(inline)["spec"]},
    }
    spec = rendered(cron)["spec"]["workflowSpec"]
    (task,) = spec["templates"][0]["dag"]["tasks"]
    assert task["inline"]["container"]["image"] == "registry.example.com/team/train:1"
    assert spec["podMetadata"]["labels"]["slipway.item"] == "item7"


@pytest.mark.parametrize(
    "config",
    [
        {"apiVersion": "argoproj.io/v1alpha1", "kind": "EventSource", "spec": {"templates": [{"container": {}}]}},
        {"apiVersion": "example.com/v1", "kind": "Workflow", "spec": {"templates": [{"container": {}}]}},
    ],
)
def test_a_field_of_that_name_elsewhere_is_none_of_ours(config: dict[str, Any]) -> None:
    assert rendered(config)["spec"] == {"templates": [{"container": {}}]}


@pytest.mark.parametrize(
    ("template", "path"),
    [
        ({"container": {"env": 5}}, "templates[0].container.env"),
        ({"script": {"image": 5}}, "templates[0].script.image"),
        ({"container": {}, "metadata": "x"}, "templates[0].metadata"),
        ({"container": {}, "sidecars": 5}, "templates[0].sidecars"),
        ({"container": {}, "securityContext": "x"}, "templates[0].securityContext"),
        ({"container": {}, "initContainers": [{"name": "i"}], "securityContext": 1}, "templates[0].securityContext"),
    ],
)
def test_a_bad_shape_of_a_workflow_is_refused_with_its_path(template: dict[str, Any], path: str) -> None:
    assert refused(argo(template)).keys() == {f"resource_args.spec.{path}"}


@pytest.mark.parametrize("field", ["podMetadata", "securityContext"])
def test_as_is_one_of_all_its_pods(field: str) -> None:
    cron = {"apiVersion": "argoproj.io/v1alpha1", "kind": "CronWorkflow"}
    assert refused(argo({"container": {}}, **{field: "x"})).keys() == {f"resource_args.spec.{field}"}
    assert refused({**cron, "spec": {"workflowSpec": {field: "x"}}}).keys() == {
        f"resource_args.spec.workflowSpec.{field}"
    }


# --- mounted code


def test_code_is_brought_by_an_init_container_to_a_volume_of_every_container() -> None:
    """S20."""
    args = pod(
        containers=[{}, {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
        initContainers=[{"name": "first"}],
        volumes=[{"name": "data", "emptyDir": {}}],
    )
    spec = rendered(args, code=CODE)["spec"]["template"]["spec"]
    assert [each["name"] for each in spec["volumes"]] == ["data", "wandb-source-code-volume"]
    assert spec["volumes"][1] == {"name": "wandb-source-code-volume", "emptyDir": {}}
    assert [each["name"] for each in spec["initContainers"]] == ["first", "wandb-source-code-init"]
    init = spec["initContainers"][1]
    assert init["securityContext"] == RESTRICTED
    assert "env" not in init
    place = {"name": "wandb-source-code-volume", "mountPath": "/mnt/wandb"}
    assert [one["volumeMounts"][-1] for one in [*spec["containers"], init]] == [place] * 3
    assert [one["workingDir"] for one in spec["containers"]] == ["/mnt/wandb"] * 2
    assert REVISION in init["command"][-1]


def test_code_starts_in_its_working_dir_and_may_lie_on_a_claim() -> None:
    """S20."""
    body = rendered(code=replace(CODE, working_dir="src/train"), cluster=Cluster(code_claim="code", code_image="git:1"))
    spec = body["spec"]["template"]["spec"]
    assert spec["volumes"][0]["persistentVolumeClaim"] == {"claimName": "code"}
    assert spec["containers"][0]["workingDir"] == "/mnt/wandb/src/train"
    assert {one["volumeMounts"][0]["subPath"] for one in (*spec["containers"], *spec["initContainers"])} == {REVISION}
    assert spec["initContainers"][0]["image"] == "git:1"


def test_every_pod_of_another_kind_gets_the_code() -> None:
    found = replicas(pytorch({}, {}), code=CODE)
    assert sum(one["name"] == "wandb-source-code-init" for one in found) == 2
    assert all(one["volumeMounts"] for one in found)


def test_code_that_no_pod_could_mount_is_refused() -> None:
    config = {"apiVersion": "example.com/v1", "kind": "Workflow", "spec": {"predictor": {"containers": [{}]}}}
    assert "no pod" in refused(config, code=CODE)["resource_args"].rule


@pytest.mark.parametrize(
    ("uri", "word"),
    [
        ("https://h.example/x.tgz", "tar -xf"),
        ("https://h.example/x.ZIP", "unzip -q -o"),
        ("https://h.example/x.zip?token=1", "unzip -q -o"),
        ("https://h.example/x.tar?name=a.zip", "tar -xf"),
    ],
)
def test_an_archive_is_unpacked_as_its_path_says(uri: str, word: str) -> None:
    code = Code(ArchiveSource(uri, "ab" * 32), "ab" * 32)
    init = rendered(code=code)["spec"]["template"]["spec"]["initContainers"][0]
    assert f"{word} /tmp/code" in init["command"][-1]


def test_dependencies_are_installed_before_a_command_and_never_without_one() -> None:
    installing = replace(CODE, install=True)
    one = container(code=installing, args=("--lr", "a b"))
    assert one["command"] == ["/bin/sh", "-c"]
    assert one["args"][0].endswith("exec python train.py --lr 'a b'")
    assert "command" not in container(code=installing, entry_point=())


# --- bad shapes


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ({"metadata": "x"}, "metadata"),
        ({"metadata": {"labels": ["x"]}}, "metadata.labels"),
        ({"metadata": {"name": 5}}, "metadata.name"),
        ({"metadata": {"namespace": {}}}, "metadata.namespace"),
        ({"namespace": 5}, "namespace"),
        ({"kind": 5, "apiVersion": "v1"}, "kind"),
        ({"kind": "Job", "apiVersion": 1}, "apiVersion"),
        ({"spec": []}, "spec"),
        ({"spec": {"template": "x"}}, "spec.template"),
        ({"spec": {"template": {"spec": "x"}}}, "spec.template.spec"),
        ({"spec": {"template": {"metadata": "x"}}}, "spec.template.metadata"),
        (pod(containers={}), "spec.template.spec.containers"),
        (pod(containers=[]), "spec.template.spec.containers"),
        (pod(containers=["x"]), "spec.template.spec.containers[0]"),
        (pod(containers=[{"command": "python x"}]), "spec.template.spec.containers[0].command"),
        (pod(containers=[{"args": [1]}]), "spec.template.spec.containers[0].args"),
        (pod(containers=[{"image": 1}]), "spec.template.spec.containers[0].image"),
        (pod(containers=[{"env": {"A": "b"}}]), "spec.template.spec.containers[0].env"),
        (pod(containers=[{"env": ["A=b"]}]), "spec.template.spec.containers[0].env[0]"),
        (pod(containers=[{"securityContext": "x"}]), "spec.template.spec.containers[0].securityContext"),
        (
            pod(containers=[{"securityContext": {"capabilities": []}}]),
            "spec.template.spec.containers[0].securityContext.capabilities",
        ),
        (pod(containers=[{"volumeMounts": {}}]), "spec.template.spec.containers[0].volumeMounts"),
        (pod(containers=[{}], volumes={}), "spec.template.spec.volumes"),
        (pod(containers=[{}], initContainers={"a": 1}), "spec.template.spec.initContainers"),
        (pod(containers=[{}], securityContext=[]), "spec.template.spec.securityContext"),
    ],
)
def test_a_bad_shape_is_refused_with_its_path(config: dict[str, Any], path: str) -> None:
    problems = refused(config, code=CODE)
    assert problems.keys() == {f"resource_args.{path}"}
    assert all(problem.rule for problem in problems.values())


def test_several_mistakes_are_told_at_once_each_with_path_value_and_rule() -> None:
    env = [{"name": "A", "value": "b"}, {"value": "x"}, {"name": "N", "value": 3}]
    problems = refused({**pod(containers=[{"env": env}, 5], volumes="x"), "metadata": {"labels": 1}})
    assert problems.keys() == {
        "resource_args.metadata.labels",
        "resource_args.spec.template.spec.volumes",
        "resource_args.spec.template.spec.containers[0].env[1]",
        "resource_args.spec.template.spec.containers[0].env[2].value",
        "resource_args.spec.template.spec.containers[1]",
    }
    number = problems["resource_args.spec.template.spec.containers[0].env[2].value"]
    assert (number.value, number.fix) == (3, "Put it in quotes.")
    assert "text" in number.rule


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["templates", "container", "script", "sidecars", "podMetadata", "source", "workflowSpec"]),
            inner,
            max_size=4,
        )
        | st.dictionaries(
            st.sampled_from(
                ["spec", "template", "containers", "initContainers", "metadata", "labels", "env", "name", "value"]
            )
            | st.sampled_from(
                ["image", "command", "args", "volumes", "volumeMounts", "securityContext", "capabilities"]
            )
            | st.sampled_from(["kind", "apiVersion", "namespace", "add", "privileged", "seccompProfile"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=25,
)


mappings = anything.filter(lambda value: isinstance(value, dict))
workflows = st.builds(
    lambda kind, spec: {"apiVersion": "argoproj.io/v1alpha1", "kind": kind, "metadata": {"name": "w"}, "spec": spec},
    st.sampled_from(["Workflow", "CronWorkflow"]),
    anything | st.fixed_dictionaries({"workflowSpec": mappings}) | st.fixed_dictionaries({"templates": anything}),
)


@given(mappings | workflows, st.booleans())
def test_any_config_is_a_manifest_or_refused(config: dict[str, Any], mounted: bool) -> None:
    told = launched(
        resource_args=config,
        services=(config,),
        code=replace(CODE, install=True) if mounted else None,
    )
    found, problems = attempt(lambda: payload("kubernetes", told, Surroundings()))
    assert all(problem.field and problem.rule for problem in problems)
    assert problems or json.dumps(found.body)


# --- purity


@given(manifests, st.booleans())
def test_rendering_changes_nothing_and_gives_the_same_twice(config: dict[str, Any], mounted: bool) -> None:
    before = copy.deepcopy(config)
    told = launched(resource_args=config, args=("x",), code=replace(CODE, install=True) if mounted else None)
    try:
        first = copy.deepcopy(manifest(told, CLUSTER))
    except Invalid:
        assert config == before
        return
    spoiled = manifest(told, CLUSTER)
    assert first == spoiled
    for one in containers_in(spoiled):
        one["env"].append("spoiled") if "env" in one else None
        one["securityContext"].get("capabilities", {}).get("drop", []).append("spoiled")
        for entry in one.get("env", []):
            if isinstance(entry, dict):
                entry.get("valueFrom", {}).clear()
    assert config == before
    assert manifest(told, CLUSTER) == first


def test_no_two_places_of_a_manifest_are_the_same_object() -> None:
    """Written as YAML it has no anchors, and who changes one container changes no other."""
    assert "&id" not in yaml.safe_dump(rendered(pod(containers=[{}, {}], initContainers=[{"name": "i"}]), code=CODE))


@given(manifests, st.dictionaries(st.sampled_from(["WANDB_API_KEY", "HF_TOKEN"]), st.just("REFERENCE"), min_size=1))
def test_what_stands_for_a_secret_is_always_a_reference(config: dict[str, Any], secrets: dict[str, str]) -> None:
    """The renderer is given no value of a secret, and a value that a config has in its place goes."""
    for one in containers_in(config):
        one["env"] = [{"name": name, "value": "hunter2"} for name in secrets]
    body = rendered(config, secrets=secrets)
    for spec in [body, body.get("spec")]:
        assert isinstance(spec, dict)
    running = [one for one in containers_in(body) if "WANDB_PROJECT" in {each["name"] for each in one.get("env", [])}]
    for one in running:
        told = variables(one)
        assert all(told[name]["secretKeyRef"]["key"] == name for name in secrets)


def test_a_pod_that_is_a_run_is_not_started_again() -> None:
    """The cluster's own default is Always, and such a run never ends."""
    pod = {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "a"}]}}
    assert rendered(pod)["spec"]["restartPolicy"] == "Never"
    assert (
        rendered({**pod, "spec": {**pod["spec"], "restartPolicy": "OnFailure"}})["spec"]["restartPolicy"] == "OnFailure"
    )
