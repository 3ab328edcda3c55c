"""What the environment says of a cluster: read at once, refused with its cure, and examined by `slipway doctor`."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests import cluster
from tests.contracts.kubernetes_fixtures import JOB
from tests.services import ROOT
from tests.standins.aws.eks import ME, Entry, eks_cluster

from slipway import wire
from slipway.adapters.aws.clients import Clients
from slipway.adapters.kubernetes.access import from_kubeconfig
from slipway.adapters.kubernetes.contexts import BucketContexts, ClaimContexts
from slipway.adapters.kubernetes.rights import RUNS
from slipway.cli.main import main
from slipway.errors import Invalid
from slipway.render.build_job import Place
from slipway.render.surroundings import Cluster
from slipway.wire_kubernetes import OneCluster, Settings, settings_of


def nobody() -> Any:
    raise AssertionError("no cloud is asked")


class TestSettings:
    def test_nothing_said_is_a_cluster_with_its_defaults(self) -> None:
        assert settings_of({}) == Settings(builds=Place("default"))

    def test_all_of_it(self) -> None:
        told = settings_of(
            {
                "SLIPWAY_KUBERNETES_NAMESPACE": "ml",
                "SLIPWAY_KUBERNETES_NAMESPACES": "vision, ml,speech",
                "SLIPWAY_KUBERNETES_CONTEXT": "prod",
                "SLIPWAY_KUBERNETES_SECRET": "wandb",
                "SLIPWAY_KUBERNETES_SECRET_KEY": "password",
                "SLIPWAY_KUBERNETES_AGENT": "blue",
                "SLIPWAY_BUILD_NAMESPACE": "builds",
                "SLIPWAY_BUILD_SERVICE_ACCOUNT": "builder",
                "SLIPWAY_BUILD_CONTEXTS": "gs://bucket/contexts",
                "SLIPWAY_BUILD_DOCKER_CONFIG": "login",
            }
        )
        assert told == Settings(
            Cluster("ml", agent="blue", secret="wandb", secret_key="password"),
            ("ml", "vision", "speech"),
            context="prod",
            builds=Place("builds", "builder", docker_config="login"),
            contexts="gs://bucket/contexts",
        )

    @pytest.mark.parametrize(
        ("variable", "value", "words"),
        [
            ("SLIPWAY_KUBERNETES_NAMESPACE", "No_Such", "is no name of a namespace"),
            ("SLIPWAY_KUBERNETES_NAMESPACE", "a,b", "is more than one"),
            ("SLIPWAY_KUBERNETES_NAMESPACES", "a,-b", "is no name of a namespace (got '-b')"),
            ("SLIPWAY_BUILD_NAMESPACE", "a,b", "is more than one"),
            ("SLIPWAY_BUILD_CONTEXTS", "bucket", "claim:<name>"),
            ("SLIPWAY_KUBERNETES_CLUSTER", "gke:project/name", "gke:<project>/<location>/<name>"),
            ("SLIPWAY_KUBERNETES_CLUSTER", "eks:", "eks:<name>"),
            ("SLIPWAY_KUBERNETES_CLUSTER", "ecs:name", "names no cluster"),
        ],
    )
    def test_what_cannot_be_is_refused_by_its_name(self, variable: str, value: str, words: str) -> None:
        with pytest.raises(Invalid) as caught:
            settings_of({variable: value})
        assert caught.value.message.startswith(variable)
        assert words in caught.value.message

    def test_a_storage_key_is_not_shown(self) -> None:
        settings = settings_of({"AZURE_STORAGE_ACCESS_KEY": "c2VjcmV0"})
        assert settings.builds.azure_storage
        assert "c2VjcmV0" not in repr(settings)

    @pytest.mark.parametrize(
        ("place", "kind", "address"),
        [
            ("gs://bucket/a/b", BucketContexts, "gs://bucket/a/b/k"),
            ("https://acc.blob.core.windows.net/c", BucketContexts, "https://acc.blob.core.windows.net/c/k"),
            ("claim:contexts", ClaimContexts, "tar:///context/k"),
        ],
    )
    def test_contexts_lie_where_they_are_told_to(self, place: str, kind: type, address: str) -> None:
        """S12. A queue's own place goes over the deployment's."""
        contexts = OneCluster(Settings(contexts="claim:other"), {}, nobody)._contexts(place)
        assert isinstance(contexts, kind)
        assert contexts.address("k") == address  # type: ignore[attr-defined]

    def test_a_build_without_a_place_for_its_context_is_told_how_to_give_one(self) -> None:
        with pytest.raises(Invalid, match="SLIPWAY_BUILD_CONTEXTS"):
            OneCluster(Settings(), {}, nobody)._contexts(None)

    def test_a_build_without_a_destination_is_told_how_to_give_one(self) -> None:
        with pytest.raises(Invalid, match=r"builder\.destination: is not given, and kaniko builds for a registry"):
            OneCluster(Settings(), {}, nobody).builder("kaniko", None, nobody)


@pytest.mark.cluster
class TestOnACluster:
    @pytest.fixture
    def home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("SLIPWAY_ENTITY", "team")
        monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig()))
        return tmp_path

    def found(self, capsys: pytest.CaptureFixture[str], check: str) -> dict[str, Any]:
        capsys.readouterr()
        main(["doctor", "-o", "json"])
        findings = json.loads(capsys.readouterr().out)
        return next(each for each in findings if each["check"] == check)

    def queue(self, home: Path, config: Mapping[str, Any] = JOB) -> None:
        path = home / "queue.yaml"
        path.write_text(yaml.safe_dump({"name": "gpu", "resource": "kubernetes", "config": config}))
        assert main(["queue", "apply", str(path)]) == 0

    def test_doctor_says_that_all_is_allowed(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.queue(home)
        found = self.found(capsys, "namespace default")
        assert found["verdict"] == "ok"
        assert "all is allowed that runs need" in found["text"]

    def test_doctor_names_each_rule_that_is_missing(
        self, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.queue(home, {"apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob"})
        document = yaml.safe_load(cluster.kubeconfig().read_text())
        with cluster.namespace() as namespace:
            account = cluster.core().read_namespaced_service_account("default", namespace)
            secret = cluster.core().read_namespaced_secret(account.secrets[0].name, namespace)
            document["users"][0]["user"] = {"token": b64decode(secret.data["token"]).decode()}
            (home / "kubeconfig").write_text(yaml.safe_dump(document))
            monkeypatch.setenv("KUBECONFIG", str(home / "kubeconfig"))
            found = self.found(capsys, "namespace default")
        assert found["verdict"] == "broken"
        assert 'apiGroups: ["batch"], resources: ["jobs"], verbs: ["create", "get", "list", "delete"]' in found["cure"]
        assert 'apiGroups: ["kubeflow.org"], resources: ["pytorchjobs"]' in found["cure"]
        assert 'resources: ["secrets"], verbs: ["create"]' in found["cure"]

    def test_doctor_says_that_the_cluster_is_away(
        self, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.queue(home)
        document = yaml.safe_load(cluster.kubeconfig().read_text())
        document["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"
        (home / "kubeconfig").write_text(yaml.safe_dump(document))
        monkeypatch.setenv("KUBECONFIG", str(home / "kubeconfig"))
        found = self.found(capsys, "kubernetes")
        assert "https://127.0.0.1:9 does not answer" in found["text"]
        assert "needed by queue team/gpu" in found["text"]

    def test_a_queue_without_a_cluster_is_refused_with_the_cure(
        self, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("KUBECONFIG")
        monkeypatch.setenv("HOME", str(home))
        path = home / "queue.yaml"
        path.write_text(yaml.safe_dump({"name": "gpu", "resource": "kubernetes", "config": JOB}))
        assert main(["queue", "apply", str(path)]) == 3
        assert "gcloud container clusters get-credentials" in capsys.readouterr().err

    def test_the_role_in_the_docs_is_what_is_asked_for(self) -> None:
        page = (ROOT / "docs" / "kubernetes.md").read_text()
        shown = next(block for block in page.split("```yaml\n")[1:] if "kind: Role" in block).partition("```")[0]
        rules = {
            (group, resource): tuple(rule["verbs"])
            for rule in yaml.safe_load(shown)["rules"]
            for group in rule["apiGroups"]
            for resource in rule["resources"]
        }
        assert {key: verbs for key, verbs in rules.items() if key[0] in ("batch", "")} == dict(RUNS)

    def test_a_cluster_of_eks_is_entered_by_its_name(
        self, aws: Clients, moto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """S9: the credentials are boto3's own."""
        folder = tmp_path / "eks"
        folder.mkdir()
        behind = from_kubeconfig(str(cluster.kubeconfig()))
        entry = Entry("arn:aws:sts::123456789012:assumed-role/laptop/me", ("system:masters",))
        with eks_cluster("gpus", behind, moto, folder, {ME: entry}) as eks:
            monkeypatch.setenv("AWS_ENDPOINT_URL_EKS", eks.api)
            monkeypatch.setattr(wire, "_clients", lambda: aws)
            entered = wire.cluster({"SLIPWAY_KUBERNETES_CLUSTER": "eks:gpus"})
            assert entered.version().startswith("v1.20.2 at https://127.0.0.1:")
            assert entered.missing_rights("default", [("kubeflow.org/v1", "PyTorchJob")]) == []


class TestResources:
    def test_a_deployment_may_be_for_some_resources_alone(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """In a pod a local process would run beside Slipway, with its rights."""
        monkeypatch.setenv("SLIPWAY_RESOURCES", "kubernetes, sagemaker")
        ports = wire.local(wire.Settings(tmp_path))
        assert ports.resources == []
        with pytest.raises(Invalid, match=r"resource: this deployment has none of that name \(got 'local-process'\)"):
            ports.targets("local-process")

    def test_a_resource_that_is_none_is_named(self) -> None:
        with pytest.raises(Invalid, match=r"SLIPWAY_RESOURCES: is not a resource \(got 'kubernets'\)\. Did you mean"):
            wire.resources_of({"SLIPWAY_RESOURCES": "kubernets"})
