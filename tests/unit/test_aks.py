"""How to get into a cluster of AKS: Azure's own client signs in over HTTP, and each refusal names its cure."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml
from tests.services import free_port
from tests.standins.azure.identity import Identity
from tests.standins.raw_http import Answer, Request, serving

from slipway.adapters.azure.aks import MANAGEMENT, RIGHT, SERVER, access
from slipway.adapters.kubernetes.access import Access
from slipway.errors import Forbidden, Invalid, NotFound, Permanent, Refused, SlipwayError, Temporary

PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
ADDRESS = "https://gpus-0a1b.hcp.westeurope.azmk8s.io:443"
ENTRA = {"exec": {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": "kubelogin"}}
AUDIENCE = SERVER.removesuffix("/.default")


def kubeconfig(user: dict[str, Any], **place: str) -> dict[str, Any]:
    authority = base64.b64encode(PEM.encode()).decode()
    cluster = {"certificate-authority-data": authority, "server": ADDRESS, **place}
    return {
        "clusters": [{"cluster": {name: value for name, value in cluster.items() if value}, "name": "gpus"}],
        "users": [{"name": "clusterUser_ml_gpus", "user": user}],
    }


@dataclass
class Azure:
    """Azure Resource Manager and a managed identity's endpoint, as one server."""

    url: str = ""
    identity: Identity = field(default_factory=Identity)
    kubeconfigs: list[Any] = field(default_factory=lambda: [kubeconfig(ENTRA)])
    refusal: Answer | None = None
    calls: list[Request] = field(default_factory=list)

    def __call__(self, request: Request) -> Answer:
        if request.path == "/token":
            return self.identity.answer(request)
        self.calls.append(request)
        assert self.identity.knows(request, MANAGEMENT)
        values = [base64.b64encode(yaml.safe_dump(each).encode()).decode() for each in self.kubeconfigs]
        told = {"kubeconfigs": [{"name": "clusterUser", "value": value} for value in values]}
        return self.refusal or Answer(200, json.dumps(told).encode())

    def access(self, **more: Any) -> Access:
        return access("0000-1111", "ml", "gpus", management=self.url, **more)


@pytest.fixture
def azure(monkeypatch: pytest.MonkeyPatch) -> Iterator[Azure]:
    azure = Azure()
    with serving(azure) as azure.url:
        for name, value in azure.identity.environment(azure.url).items():
            monkeypatch.setenv(name, value)
        yield azure


class TestAccess:
    def test_it_is_the_clusters_address_its_authority_and_a_token_for_it(self, azure: Azure) -> None:
        found = azure.access()
        assert (found.server, found.authority) == (ADDRESS, PEM)
        assert (AUDIENCE, found.token()) == azure.identity.issued[-1]
        (call,) = azure.calls
        cluster = "/subscriptions/0000-1111/resourceGroups/ml/providers/Microsoft.ContainerService/managedClusters/gpus"
        assert (call.method, call.path) == ("POST", f"{cluster}/listClusterUserCredential")
        assert call.query == {"api-version": "2025-10-01"}

    def test_a_cluster_without_entra_keeps_the_token_of_its_kubeconfig(self, azure: Azure) -> None:
        azure.kubeconfigs = [kubeconfig({"token": "of-the-cluster", "client-key-data": "a2V5"})]
        assert azure.access().token() == "of-the-cluster"

    def test_one_that_is_being_made_is_waited_for(self, azure: Azure) -> None:
        azure.kubeconfigs = []
        with pytest.raises(Refused, match="being made"):
            azure.access()

    @pytest.mark.parametrize(
        ("config", "words"),
        [(kubeconfig(ENTRA, server=""), "has no server"), ("key: of-nobody", "cannot be read")],
        ids=["no server", "no kubeconfig"],
    )
    def test_one_that_cannot_be_used_is_said_and_not_shown(self, azure: Azure, config: Any, words: str) -> None:
        azure.kubeconfigs = [config]
        with pytest.raises(Permanent, match=words) as told:
            azure.access()
        assert "of-nobody" not in str(told.value)

    @pytest.mark.parametrize(
        ("status", "code", "error"),
        [
            (403, "AuthorizationFailed", Forbidden),
            (404, "ResourceNotFound", NotFound),
            (429, "TooManyRequests", Refused),
            (503, "ServiceUnavailable", Temporary),
            (400, "BadRequest", Permanent),
        ],
    )
    def test_a_refusal_is_told_in_azures_words(
        self, azure: Azure, status: int, code: str, error: type[Exception]
    ) -> None:
        azure.refusal = Answer(status, json.dumps({"error": {"code": code, "message": "It says why."}}).encode())
        with pytest.raises(SlipwayError) as told:
            azure.access()
        assert type(told.value) is error
        assert told.value.message.startswith("cannot look up the AKS cluster ml/gpus")
        assert told.value.message.endswith(f"It says why. ({code})")
        assert (RIGHT in told.value.message) == (status == 403)

    def test_without_credentials_the_cure_is_named(self, azure: Azure) -> None:
        azure.identity.closed = True
        with pytest.raises(Invalid, match="az login"):
            azure.access()

    def test_a_server_that_is_not_there_is_temporary(self, azure: Azure) -> None:
        with pytest.raises(Temporary, match="does not answer"):
            access("0000-1111", "ml", "gpus", management=f"http://127.0.0.1:{free_port()}")


class TestToken:
    def test_it_is_kept_until_minutes_before_its_end_and_then_renewed(self, azure: Azure) -> None:
        now = [time.time()]
        azure.identity.seconds = 400
        found = azure.access(clock=lambda: now[0])
        first = found.token()
        now[0] += 90
        assert found.token() == first
        now[0] += 20
        found.token()
        # azure-identity has a memory of its own, which goes by the machine's clock.
        assert found.token() == azure.identity.issued[-1][1]

    def test_an_identity_that_is_gone_for_a_while_is_waited_for(self, azure: Azure) -> None:
        found = azure.access()
        azure.identity.closed = True
        with pytest.raises(Refused, match="sign in to the AKS cluster gpus"):
            found.token()

    def test_it_is_not_shown(self, azure: Azure) -> None:
        found = azure.access()
        assert str(found.token()) not in repr(found)
