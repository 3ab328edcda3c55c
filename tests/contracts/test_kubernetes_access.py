"""Ways into a genuine cluster: kubeconfigs with tokens, certificates and plug-ins, and a pod's own account."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests import cluster

from slipway.adapters.kubernetes.access import Access, ambient, from_kubeconfig, of_this_pod
from slipway.adapters.kubernetes.api import Api
from slipway.errors import Invalid, Permanent, Temporary

pytestmark = pytest.mark.cluster
PLUG_IN = """#!/bin/sh
echo asked >>"{asked}"
cat <<JSON
{{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {{"token": "{token}"}}}}
JSON
"""


def works(access: Access) -> bool:
    namespaces = Api(access).items("/api/v1/namespaces", "list namespaces")
    return "default" in [each["metadata"]["name"] for each in namespaces]


class TestAccess:
    @pytest.fixture
    def document(self) -> dict[str, Any]:
        """The administrator's kubeconfig."""
        document: dict[str, Any] = yaml.safe_load(cluster.kubeconfig().read_text())
        return document

    @pytest.fixture
    def written(self, tmp_path: Path) -> Callable[..., str]:
        def write(document: dict[str, Any], name: str = "config") -> str:
            path = tmp_path / name
            path.write_text(yaml.safe_dump(document))
            return str(path)

        return write

    def test_a_token(self, document: dict[str, Any], written: Callable[..., str]) -> None:
        access = from_kubeconfig(written(document))
        assert works(access)
        assert access.namespace == "default"

    def test_a_clients_certificate(self, document: dict[str, Any], written: Callable[..., str]) -> None:
        pki = cluster.kubeconfig().parent / "pki"
        user = {"client-certificate": str(pki / "kubelet-client.crt"), "client-key": str(pki / "kubelet-client.key")}
        document["users"][0]["user"] = user
        assert works(from_kubeconfig(written(document)))

    def test_a_plug_in(self, document: dict[str, Any], written: Callable[..., str], tmp_path: Path) -> None:
        """As `aws eks get-token` and `gke-gcloud-auth-plugin` are."""
        script = tmp_path / "get-token"
        script.write_text(PLUG_IN.format(asked=tmp_path / "asked", token=document["users"][0]["user"]["token"]))
        script.chmod(0o755)
        plug_in = {"apiVersion": "client.authentication.k8s.io/v1", "command": str(script), "interactiveMode": "Never"}
        document["users"][0]["user"] = {"exec": plug_in}
        assert works(from_kubeconfig(written(document)))
        assert (tmp_path / "asked").read_text() == "asked\n"

    def test_another_context_than_the_current_one(self, document: dict[str, Any], written: Callable[..., str]) -> None:
        nowhere = {"name": "nowhere", "cluster": {"server": "https://127.0.0.1:9"}}
        document["clusters"].append(nowhere)
        broken = {"cluster": "nowhere", "user": "admin"}
        document["contexts"].append({"name": "broken", "context": broken})
        document["contexts"].append(
            {"name": "ml", "context": {**document["contexts"][0]["context"], "namespace": "ml"}}
        )
        document["current-context"] = "broken"
        path = written(document)
        assert from_kubeconfig(path).server == "https://127.0.0.1:9"
        chosen = from_kubeconfig(path, "ml")
        assert works(chosen)
        assert chosen.namespace == "ml"

    def test_a_context_that_is_not_there_names_those_that_are(
        self, document: dict[str, Any], written: Callable[..., str]
    ) -> None:
        with pytest.raises(Invalid, match=r"context: is not in the kubeconfig \(got 'ml'\)\. It has: slipway-test"):
            from_kubeconfig(written(document), "ml")

    def test_several_files_are_one(self, document: dict[str, Any], written: Callable[..., str]) -> None:
        users = {**document, "clusters": [], "contexts": []}
        rest = {**document, "users": []}
        assert works(from_kubeconfig(f"{written(rest, 'a')}:{written(users, 'b')}"))

    @pytest.mark.parametrize(
        "text", ["", "{}", "kind: Config\ncurrent-context: x\ncontexts: []", "- a\n", "a: [", "clusters: 3"]
    )
    def test_a_file_that_is_no_kubeconfig(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "config"
        path.write_text(text)
        with pytest.raises(Invalid, match="KUBECONFIG: cannot be used"):
            from_kubeconfig(str(path))

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(Invalid, match="KUBECONFIG: cannot be used"):
            from_kubeconfig(str(tmp_path / "nowhere"))

    def test_the_name_in_the_servers_certificate(self, document: dict[str, Any], written: Callable[..., str]) -> None:
        document["clusters"][0]["cluster"]["tls-server-name"] = "kubernetes.default.svc"
        assert works(from_kubeconfig(written(document)))
        document["clusters"][0]["cluster"]["tls-server-name"] = "example.com"
        with pytest.raises(Permanent, match="certificate"):
            works(from_kubeconfig(written(document)))

    def test_a_proxy_is_asked_unless_no_proxy_has_the_server(
        self, document: dict[str, Any], written: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
        monkeypatch.setenv("NO_PROXY", "example.com,127.0.0.1")
        assert works(from_kubeconfig(written(document)))
        monkeypatch.setenv("NO_PROXY", "example.com")
        with pytest.raises(Temporary, match="does not answer"):
            works(from_kubeconfig(written(document)))

    def test_a_pods_own_account(
        self, document: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As the kubelet mounts it."""
        server = document["clusters"][0]["cluster"]["server"]
        host, _, port = server.removeprefix("https://").partition(":")
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
        shutil.copy(cluster.kubeconfig().parent / "pki" / "ca.crt", tmp_path / "ca.crt")
        (tmp_path / "token").write_text(document["users"][0]["user"]["token"])
        (tmp_path / "namespace").write_text("ml")
        access = of_this_pod(tmp_path)
        assert works(access)
        assert access.namespace == "ml"

    def test_a_pod_without_an_account(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
        with pytest.raises(Invalid, match="automountServiceAccountToken"):
            of_this_pod(tmp_path)

    def test_no_cluster_at_all_is_told_with_its_cure(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        with pytest.raises(Invalid, match="get-credentials"):
            ambient({})

    def test_the_kubeconfig_of_the_environment(self, document: dict[str, Any], written: Callable[..., str]) -> None:
        assert works(ambient({"KUBECONFIG": written(document)}))

    def test_no_token_is_shown(self, document: dict[str, Any], written: Callable[..., str]) -> None:
        access = from_kubeconfig(written(document))
        assert access.token() == document["users"][0]["user"]["token"]
        assert document["users"][0]["user"]["token"] not in repr(access)
