"""The Helm chart (S21), rendered by Helm itself: with its own values, and with a values file for W&B's agent."""

from __future__ import annotations

import re
import stat
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.contracts.cluster_builder_fixtures import RULES as BUILDS
from tests.onprem.chart import EVERYTHING, WANDB_VALUES, Rendered, helm, refusal, render
from tests.onprem.restricted import breaches
from tests.schemas import kubernetes_schemas
from tests.services import ROOT

from slipway.adapters.kubernetes.rights import RUNS

CHART = ROOT / "onprem" / "chart"
VALUES = {"defaults": (), "W&B's": (WANDB_VALUES,), "everything": (EVERYTHING,)}
READ = {"get", "list", "watch"}


@cache
def rendered(which: str) -> Rendered:
    return render(*VALUES[which])


@pytest.fixture(params=list(VALUES))
def chart(request: pytest.FixtureRequest) -> Rendered:
    return rendered(request.param)


class TestAnyValues:
    def test_every_document_is_valid_for_every_version_of_kubernetes(self, chart: Rendered) -> None:
        assert len(chart.documents) >= 10
        for document in chart.documents:
            kubernetes_schemas.check_all(document)

    def test_no_two_documents_are_the_same_object(self, chart: Rendered) -> None:
        names = [(each["kind"], each["metadata"]["namespace"], each["metadata"]["name"]) for each in chart.documents]

        assert len(set(names)) == len(names)

    def test_every_pod_keeps_to_the_restricted_profile_and_writes_nowhere_but_its_volumes(
        self, chart: Rendered
    ) -> None:
        for pod in chart.pods():
            assert not list(breaches(pod))
            for container in [*pod.get("initContainers", ()), *pod["containers"]]:
                assert container["securityContext"]["readOnlyRootFilesystem"] is True
                assert container["resources"]["limits"].keys() >= {"cpu", "memory"}

    def test_no_secret_stands_outside_of_a_secret(self, chart: Rendered) -> None:
        open_documents = [each for each in chart.documents if each["kind"] != "Secret"]

        assert not re.search("hunter2|0123456789abcdef0123", yaml.safe_dump_all(open_documents))

    def test_no_right_is_wider_than_a_namespace_and_none_makes_more_rights(self, chart: Rendered) -> None:
        assert not chart.of("ClusterRole")
        assert not chart.of("ClusterRoleBinding")
        for role in chart.of("Role"):
            for rule in role["rules"]:
                assert "*" not in [*rule["verbs"], *rule["resources"], *rule["apiGroups"]]
                assert not {"update", "patch", "deletecollection", "bind", "escalate", "impersonate"} & {*rule["verbs"]}
                if "secrets" in rule["resources"]:
                    assert not {"list", "watch", "delete"} & {*rule["verbs"]}

    def test_every_role_is_bound_to_an_account_of_the_chart(self, chart: Rendered) -> None:
        accounts = {(each["metadata"]["namespace"], each["metadata"]["name"]) for each in chart.of("ServiceAccount")}
        for binding in chart.of("RoleBinding"):
            where = binding["metadata"]["namespace"]
            assert chart.one("Role", binding["roleRef"]["name"], where)
            assert {(each["namespace"], each["name"]) for each in binding["subjects"]} <= accounts

    def test_what_is_mounted_is_there(self, chart: Rendered) -> None:
        """Each file of a ConfigMap or Secret of the chart that a container mounts by its name."""
        held = {
            each["metadata"]["name"]: {**each.get("data", {}), **each.get("stringData", {})}
            for each in [*chart.of("ConfigMap"), *chart.of("Secret")]
        }
        for pod in chart.pods():
            sources = {each["name"]: each for each in pod["volumes"]}
            containers = [*pod.get("initContainers", ()), *pod["containers"]]
            for mount in (mount for container in containers for mount in container["volumeMounts"]):
                source = sources[mount["name"]]
                name = source.get("configMap", {}).get("name") or source.get("secret", {}).get("secretName")
                if name in held and "subPath" in mount:
                    assert mount["subPath"] in held[name]

    def test_helm_has_nothing_to_say_against_it(self) -> None:
        for files in VALUES.values():
            done = helm("lint", *(word for file in files for word in ("-f", file)))
            assert done.returncode == 0, done.stdout


class TestDefaults:
    def test_it_is_one_pod_of_one_cpu_and_one_gib_with_its_data_on_a_claim(self) -> None:
        chart = rendered("defaults")
        deployment = chart.one("Deployment", "launch-slipway", "ml")
        pod = deployment["spec"]["template"]["spec"]

        assert (deployment["spec"]["replicas"], deployment["spec"]["strategy"]) == (1, {"type": "Recreate"})
        assert pod["containers"][0]["resources"] == {"limits": {"cpu": "1000m", "memory": "1Gi"}}
        assert pod["volumes"][0] == {"name": "data", "persistentVolumeClaim": {"claimName": "launch-slipway"}}
        claim = chart.one("PersistentVolumeClaim", "launch-slipway", "ml")
        assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}

    def test_it_serves_with_keys_and_is_probed(self) -> None:
        [pod] = rendered("defaults").pods()
        [container] = pod["containers"]

        assert "--require-key" in container["args"]
        paths = {probe: container[probe]["httpGet"]["path"] for probe in container if probe.endswith("Probe")}
        assert paths == {"startupProbe": "/ready", "livenessProbe": "/healthz", "readinessProbe": "/ready"}

    def test_only_its_own_namespace_may_call_it_and_it_may_launch_there(self) -> None:
        chart = rendered("defaults")

        policy = chart.one("NetworkPolicy", "launch-slipway", "ml")
        assert policy["spec"]["ingress"] == [
            {"from": [{"podSelector": {}}], "ports": [{"port": "http", "protocol": "TCP"}]}
        ]
        assert {each["metadata"]["namespace"] for each in chart.of("Role")} == {"ml"}
        assert chart.environment()["SLIPWAY_KUBERNETES_NAMESPACES"] == "ml"

    def test_builds_have_an_account_without_rights(self) -> None:
        chart = rendered("defaults")

        account = chart.one("ServiceAccount", "launch-slipway-build")
        assert account["automountServiceAccountToken"] is False
        assert not [each for each in chart.of("RoleBinding") if "build" in each["subjects"][0]["name"]]

    def test_no_variable_is_empty(self) -> None:
        assert all(rendered("defaults").environment().values())

    def test_there_is_no_secret_and_no_forwarder(self) -> None:
        chart = rendered("defaults")

        assert not chart.of("Secret")
        assert len(chart.of("Deployment")) == 1

    def test_the_notes_say_how_the_first_key_is_made(self) -> None:
        assert "-- slipway key create me --entity TEAM" in rendered("defaults").notes


class TestValuesOfWandb:
    """S21."""

    def test_it_runs_slipway_and_not_wandbs_agent(self) -> None:
        chart = rendered("W&B's")

        assert {each["image"] for pod in chart.pods() for each in pod["containers"]} == {
            "ghcr.io/slipway-ml/slipway:0.1.0"
        }
        assert "agent.image is W&B's agent" in chart.notes
        assert "docker build -f onprem/Dockerfile" in chart.notes

    @pytest.mark.parametrize(
        "image",
        ["wandb/launch-agent", "wandb/launch-agent-dev:latest", "r.example.com:5000/copy/launch-agent@sha256:00", None],
    )
    def test_it_knows_wandbs_image_by_its_name(self, tmp_path: Path, image: str | None) -> None:
        (tmp_path / "values.yaml").write_text(yaml.safe_dump({"agent": {"image": image}}))

        [pod] = render(tmp_path / "values.yaml").pods()
        assert pod["containers"][0]["image"] == "ghcr.io/slipway-ml/slipway:0.1.0"

    def test_it_goes_where_the_values_say_and_may_launch_where_they_say(self) -> None:
        chart = rendered("W&B's")

        assert chart.one("Deployment", "launch-slipway")["metadata"]["namespace"] == "wandb"
        roles = [
            each["metadata"]["namespace"] for each in chart.of("Role") if each["metadata"]["name"] == "launch-slipway"
        ]
        assert sorted(roles) == ["default", "wandb"]
        assert chart.environment()["SLIPWAY_KUBERNETES_NAMESPACES"] == "wandb,default"

    def test_its_secrets_reach_the_pod_by_reference(self) -> None:
        chart = rendered("W&B's")
        environment = chart.environment()

        key = chart.one("Secret", "wandb-api-key-launch", "wandb")
        assert key["stringData"]["password"] == "0123456789abcdef0123456789abcdef01234567"
        assert environment["WANDB_API_KEY"]["secretKeyRef"] == {"name": "wandb-api-key-launch", "key": "password"}
        assert environment["DATABASE_PASSWORD"]["secretKeyRef"] == {
            "name": "launch-slipway-env",
            "key": "DATABASE_PASSWORD",
        }
        git = chart.one("Secret", "launch-slipway-git", "wandb")
        assert git["stringData"] == {".git-credentials": "https://robot:hunter2-of-git@git.example.com\n"}

    def test_its_server_its_variables_and_its_build_contexts_move_over(self) -> None:
        environment = rendered("W&B's").environment()

        assert environment["WANDB_BASE_URL"] == "https://wandb.example.com"
        assert environment["HTTPS_PROXY"] == "http://proxy.example.com:3128"
        assert environment["SLIPWAY_BUILD_CONTEXTS"] == "s3://contexts.example.com/wandb"
        assert environment["SLIPWAY_BUILD_DOCKER_CONFIG"] == "registry-login"

    def test_the_logins_of_builds_are_slipways_too_where_the_secret_is_in_its_namespace(self) -> None:
        """S10: it asks the registry whether an image is there."""
        [pod] = rendered("W&B's").pods()
        [volume] = [each for each in pod["volumes"] if each["name"] == "logins"]

        assert volume["secret"] == {
            "secretName": "registry-login",
            "optional": True,
            "defaultMode": 0o440,
            "items": [{"key": ".dockerconfigjson", "path": "config.json"}],
        }
        [mount] = [each for each in pod["containers"][0]["volumeMounts"] if each["name"] == "logins"]
        assert mount == {"name": "logins", "mountPath": "/home/slipway/.docker", "readOnly": True}

    def test_the_key_of_the_storage_account_has_a_name_of_its_own_and_the_one_that_builds_read(self) -> None:
        chart = rendered("W&B's")

        for name in ("launch-slipway-azure", "azure-storage-access-key"):
            assert chart.one("Secret", name, "wandb")["stringData"] == {"password": "hunter2-of-azure"}
        reference = chart.environment()["AZURE_STORAGE_ACCESS_KEY"]["secretKeyRef"]
        assert reference == {"name": "launch-slipway-azure", "key": "password"}

    @pytest.mark.parametrize(
        ("values", "words"),
        [
            ({"agent": {"image": ""}}, "agent.image is not set"),
            ({"launchConfig": "queues: [train]"}, "additionalTargetNamespaces is not set"),
            ({"launchConfig": "queues: [train]"}, "W&B's chart brings Volcano"),
            ({"volcano": True}, "W&B's chart brings Volcano"),
        ],
    )
    def test_the_notes_warn_of_what_wandbs_chart_does_and_this_one_does_not(
        self, tmp_path: Path, values: dict[str, Any], words: str
    ) -> None:
        (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
        assert words in render(tmp_path / "values.yaml").notes
        given = {
            "agent": {"image": "registry.example.com/slipway:1"},
            "additionalTargetNamespaces": ["default"],
            "customResources": [{"apiGroups": ["batch.volcano.sh"], "resources": ["jobs"]}],
        }
        (tmp_path / "values.yaml").write_text(yaml.safe_dump(values | given))
        assert words not in render(tmp_path / "values.yaml").notes

    def test_annotations_that_are_named_and_empty_are_left_out(self) -> None:
        assert "annotations" not in rendered("W&B's").one("ServiceAccount", "launch-slipway")["metadata"]

    def test_its_launch_config_is_kept_and_the_notes_name_the_queues_whose_configs_are_elsewhere(self) -> None:
        chart = rendered("W&B's")
        config = yaml.safe_load(chart.one("ConfigMap", "launch-slipway")["data"]["launch-config.yaml"])

        assert config["queues"] == ["train", "evaluate"]
        assert "Config tab" in chart.notes
        assert "train, evaluate" in chart.notes
        assert chart.one("Deployment", "launch-slipway")["spec"]["template"]["spec"]["initContainers"][0]["args"] == [
            "/etc/slipway"
        ]

    def test_an_external_secret_is_referred_to_and_not_made(self, tmp_path: Path) -> None:
        (tmp_path / "values.yaml").write_text("agent: {useExternalWandbSecret: true, apiKey: unused}")
        chart = render(tmp_path / "values.yaml")

        assert not chart.of("Secret")
        assert chart.environment()["WANDB_API_KEY"]["secretKeyRef"]["name"] == "wandb-api-key-launch"


class TestEverything:
    def test_each_namespace_of_runs_has_its_role_once(self) -> None:
        roles = [each["metadata"] for each in rendered("everything").of("Role")]

        runs = [each["namespace"] for each in roles if each["name"] == "launch-slipway"]
        assert sorted(runs) == ["research", "slipway", "vision"]
        assert [each["namespace"] for each in roles if each["name"] == "launch-slipway-builds"] == ["builds"]

    def test_custom_resources_are_launched_by_right_and_watched_by_the_forwarder(self) -> None:
        chart = rendered("everything")

        assert self._verbs(chart, "launch-slipway", "pytorchjobs") == READ | {"create", "delete"}
        assert self._verbs(chart, "launch-slipway-forwarder", "pytorchjobs") == {"list", "watch"}

    def test_the_role_of_runs_is_what_runs_were_seen_to_need(self, tmp_path: Path) -> None:
        (tmp_path / "values.yaml").write_text("{}")
        chart = render(tmp_path / "values.yaml")
        for (_, resource), verbs in RUNS.items():
            assert self._verbs(chart, "launch-slipway", resource) >= {*verbs}
        everything = rendered("everything")
        for (_, resource), verbs in RUNS.items():
            if resource != "secrets":
                assert self._verbs(everything, "launch-slipway", resource) == {*verbs}

    def test_the_role_of_builds_is_what_builds_were_seen_to_need(self) -> None:
        chart = rendered("everything")
        for (_, resource), verbs in BUILDS.items():
            watched = {"watch"} if resource == "jobs" else set[str]()
            assert self._verbs(chart, "launch-slipway-builds", resource) == {*verbs} | watched

    def test_the_forwarder_reads_and_nothing_else(self) -> None:
        for role in rendered("everything").of("Role"):
            if role["metadata"]["name"] == "launch-slipway-forwarder":
                assert {verb for rule in role["rules"] for verb in rule["verbs"]} == {"list", "watch"}
                assert "secrets" not in [each for rule in role["rules"] for each in rule["resources"]]

    def test_a_secret_that_is_there_spares_the_right_to_make_any(self) -> None:
        chart = rendered("everything")

        assert chart.environment()["SLIPWAY_KUBERNETES_SECRET"] == "run-secrets"
        assert not self._verbs(chart, "launch-slipway", "secrets")

    def test_queues_are_prepared_from_files_and_their_templates_are_left_alone(self) -> None:
        chart = rendered("everything")
        data = chart.one("ConfigMap", "launch-slipway")["data"]
        [prepare] = chart.one("Deployment", "launch-slipway")["spec"]["template"]["spec"]["initContainers"]

        assert yaml.safe_load(data["config-1.yaml"])["spec"]["template"]["spec"]["containers"] == [
            {"env": [{"name": "ITEM", "value": "${run_id}"}]}
        ]
        assert yaml.safe_load(data["config-0.yaml"]) == {"metadata": {"namespace": "vision"}}
        queue = yaml.safe_load(data["queue-000.yaml"])
        assert queue["resource_args"]["spec"]["template"]["spec"]["priorityClassName"] == "{{priority}}"
        # The kubelet makes $( of $$(.
        assert "it's $$(HOME)=/etc/slipway/config-0.yaml" in prepare["args"]

    def test_the_forwarder_has_an_identity_and_a_queue_of_its_own(self) -> None:
        chart = rendered("everything")
        [container] = chart.one("Deployment", "launch-slipway-forwarder")["spec"]["template"]["spec"]["containers"]

        assert {each["name"]: each["value"] for each in container["env"]} == {
            "SLIPWAY_KUBERNETES_NAMESPACES": "slipway,research,vision",
            "SLIPWAY_QUEUE_ADVANCE": "https://sqs.eu-west-1.amazonaws.com/123456789012/slipway-advance",
            "AWS_REGION": "eu-west-1",
        }
        account = chart.one("ServiceAccount", "launch-slipway-forwarder")["metadata"]
        assert account["annotations"]["eks.amazonaws.com/role-arn"].endswith(":role/forwarder")

    def test_a_label_of_the_values_cannot_take_the_pod_from_its_service(self, tmp_path: Path) -> None:
        (tmp_path / "values.yaml").write_text("agent: {labels: {app.kubernetes.io/name: another}}")
        chart = render(tmp_path / "values.yaml")
        pod = chart.one("Deployment", "launch-slipway")["spec"]["template"]["metadata"]["labels"]

        assert chart.one("Service", "launch-slipway")["spec"]["selector"].items() <= pod.items()

    def test_the_forwarder_alone_leaves_no_slipway(self, tmp_path: Path) -> None:
        (tmp_path / "values.yaml").write_text("agent: {enabled: false}")
        chart = render(EVERYTHING, tmp_path / "values.yaml")

        assert [each["metadata"]["name"] for each in chart.of("Deployment")] == ["launch-slipway-forwarder"]
        assert {each["kind"] for each in chart.documents} == {
            *("Deployment", "ServiceAccount", "Role", "RoleBinding", "NetworkPolicy")
        }
        assert {each["metadata"]["name"] for each in chart.of("Role")} == {"launch-slipway-forwarder"}

    @staticmethod
    def _verbs(chart: Rendered, role: str, resource: str) -> set[str]:
        rules = [rule for each in chart.of("Role") if each["metadata"]["name"] == role for rule in each["rules"]]
        return {verb for rule in rules if resource in rule["resources"] for verb in rule["verbs"]}


class TestBadValues:
    @pytest.mark.parametrize(
        ("values", "words"),
        [
            ({"additionalTargetNamespaces": "default"}, "additionalTargetNamespaces"),
            ({"runs": {"namespaces": ["ml"]}}, "namespaces"),
            ({"build": {"contexts": "ftp://host"}}, "contexts"),
            ({"customResources": [{"apiGroups": ["*"], "resources": ["jobs"]}]}, "apiGroups"),
            ({"customResources": [{"apiGroups": [""], "resources": ["secrets"]}]}, "resources"),
            ({"agent": {"minAvailable": 2}}, "minAvailable"),
            ({"launchConfig": "queues: [a"}, "launchConfig is no YAML mapping"),
            ({"launchConfig": "- a list"}, "launchConfig is no YAML mapping"),
            (
                {"launchConfig": "queues: [train]", "queueConfigs": {"trian": {}}},
                '"trian", which is no queue of launchConfig: it has train',
            ),
            ({"forwarder": {"enabled": True}}, "forwarder.queueUrl is missing"),
        ],
    )
    def test_it_is_refused_by_name(self, tmp_path: Path, values: dict[str, Any], words: str) -> None:
        assert words in refusal(tmp_path, values)


class TestPrepare:
    """files/prepare.sh, with the real `slipway` on a data folder."""

    @pytest.fixture
    def prepare(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
        programs = tmp_path / "bin"
        programs.mkdir()
        slipway = programs / "slipway"
        python = ROOT / ".venv" / "bin" / "python"
        slipway.write_text(f"#!/bin/sh\nexec {python} -c 'from slipway.cli.main import run; run()' \"$@\"\n")
        slipway.chmod(slipway.stat().st_mode | stat.S_IXUSR)
        environment = {
            "PATH": f"{programs}:/usr/bin:/bin",
            "SLIPWAY_HOME": str(tmp_path / "home"),
            "HOME": str(tmp_path),
        }

        def run(*arguments: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=100, check=False)

        return run

    def test_a_key_is_made_once_that_nobody_sees(self, prepare: Any, tmp_path: Path) -> None:
        for _ in range(2):
            done = prepare("sh", CHART / "files" / "prepare.sh", tmp_path)
            assert done.returncode == 0, done.stderr
            assert "slip_" not in done.stdout + done.stderr
        keys = yaml.safe_load(prepare("slipway", "key", "list", "-o", "json").stdout)

        assert [each["entity"] for each in keys] == ["nobody"]

    def test_a_data_folder_that_cannot_be_read_stops_the_start_with_its_reason(
        self, prepare: Any, tmp_path: Path
    ) -> None:
        home = tmp_path / "home"
        home.mkdir()
        (home / "slipway.db").write_text("no database")

        done = prepare("sh", CHART / "files" / "prepare.sh", tmp_path)

        assert done.returncode != 0
        assert "slipway.db" in done.stderr

    def test_queues_are_applied_and_a_bad_one_stops_the_start_with_its_reason(
        self, prepare: Any, tmp_path: Path
    ) -> None:
        queue = {"name": "train", "entity": "research", "resource": "local-process"}
        (tmp_path / "queue-000.yaml").write_text(yaml.safe_dump(queue))
        assert prepare("sh", CHART / "files" / "prepare.sh", tmp_path).returncode == 0
        (tmp_path / "queue-001.yaml").write_text(yaml.safe_dump({**queue, "name": "other", "max_jobs": -3}))

        done = prepare("sh", CHART / "files" / "prepare.sh", tmp_path)

        assert done.returncode == 3
        assert "max_jobs" in done.stderr
        queues = yaml.safe_load(prepare("slipway", "queue", "list", "-e", "research", "-o", "json").stdout)
        assert [each["name"] for each in queues] == ["train"]
