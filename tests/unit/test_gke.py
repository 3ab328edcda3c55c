"""How to get into a cluster of GKE: Google's own client signs in and asks, and each refusal names its cure."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.services import free_port
from tests.standins.gcp.accounts import Accounts
from tests.standins.raw_http import Answer, Request, serving

from slipway.adapters.gcp.gke import SCOPES, access
from slipway.adapters.kubernetes.access import Access
from slipway.errors import Forbidden, Invalid, NotFound, Permanent, Refused, SlipwayError, Temporary

PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
AUTHORITY = {"clusterCaCertificate": base64.b64encode(PEM.encode()).decode()}
CLUSTER = {"name": "gpus", "status": "RUNNING", "endpoint": "34.90.1.2", "masterAuth": AUTHORITY}
NAME = "gke-0a1b.europe-west4.gke.goog"


@dataclass
class Google:
    """The API of GKE and the token endpoint, as one server."""

    url: str = ""
    accounts: Accounts = field(default_factory=Accounts)
    cluster: dict[str, Any] = field(default_factory=lambda: dict(CLUSTER))
    refusal: Answer | None = None
    paths: list[str] = field(default_factory=list)

    def __call__(self, request: Request) -> Answer:
        if request.path == "/token":
            return self.accounts.answer(request)
        self.paths.append(request.path)
        if not self.accounts.knows(request):
            return Answer(
                401, b'{"error": {"code": 401, "message": "Request had invalid authentication credentials."}}'
            )
        return self.refusal or Answer(200, json.dumps(self.cluster).encode(), {"Content-Type": "application/json"})

    def access(self) -> Access:
        return access("research", "europe-west4", "gpus", container=self.url)


@pytest.fixture
def google(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Google]:
    google = Google()
    with serving(google) as google.url:
        path = google.accounts.key_file(tmp_path, google.url)
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
        yield google


class TestAccess:
    def test_it_is_the_clusters_address_its_authority_and_the_accounts_token(self, google: Google) -> None:
        found = google.access()
        assert (found.server, found.authority) == ("https://34.90.1.2", PEM)
        assert found.token() == google.accounts.tokens[-1]
        assert google.paths == ["/v1/projects/research/locations/europe-west4/clusters/gpus"]
        assert google.accounts.scopes == set(SCOPES)

    def test_a_cluster_without_an_address_is_reached_by_its_name(self, google: Google) -> None:
        """What vouches for that name, everybody trusts."""
        ways = {"ipEndpointsConfig": {"enabled": False}, "dnsEndpointConfig": {"endpoint": NAME}}
        google.cluster["controlPlaneEndpointsConfig"] = ways
        assert (google.access().server, google.access().authority) == (f"https://{NAME}", None)

    def test_one_that_has_both_is_reached_by_its_address(self, google: Google) -> None:
        ways = {"ipEndpointsConfig": {"enabled": True}, "dnsEndpointConfig": {"endpoint": NAME}}
        google.cluster["controlPlaneEndpointsConfig"] = ways
        assert google.access().server == "https://34.90.1.2"

    @pytest.mark.parametrize(("status", "error"), [("PROVISIONING", Refused), ("ERROR", Permanent)])
    def test_one_without_any_says_in_which_state_it_is(
        self, google: Google, status: str, error: type[Exception]
    ) -> None:
        google.cluster = {"name": "gpus", "status": status}
        with pytest.raises(error, match=f"no address, it is {status}"):
            google.access()

    @pytest.mark.parametrize(
        ("status", "words", "error"),
        [
            (403, 'Required "container.clusters.get" permission(s) for "projects/research".', Forbidden),
            (404, "Not found: projects/research/locations/europe-west4/clusters/gpus.", NotFound),
            (429, "Quota exceeded for quota metric 'Read requests'.", Refused),
            (503, "The service is currently unavailable.", Temporary),
            (400, "Request contains an invalid argument.", Permanent),
        ],
    )
    def test_a_refusal_is_told_in_googles_words(
        self, google: Google, status: int, words: str, error: type[Exception]
    ) -> None:
        google.refusal = Answer(status, json.dumps({"error": {"code": status, "message": words}}).encode())
        with pytest.raises(SlipwayError) as told:
            google.access()
        assert type(told.value) is error
        assert told.value.message == f"cannot look up the GKE cluster research/europe-west4/gpus: {words}"

    def test_without_credentials_the_cure_is_named(
        self, google: Google, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS")
        monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "gcloud"))
        monkeypatch.setenv("NO_GCE_CHECK", "true")
        with pytest.raises(Invalid, match="gcloud auth application-default login"):
            google.access()

    def test_credentials_that_were_taken_away_are_waited_for(self, google: Google) -> None:
        google.accounts.closed = "invalid_grant"
        with pytest.raises(Refused, match="invalid_grant") as told:
            google.access()
        assert told.value.retry_after == 60.0

    def test_a_server_that_is_not_there_is_temporary(self, google: Google) -> None:
        with pytest.raises(Temporary, match="does not answer"):
            access("research", "europe-west4", "gpus", container=f"http://127.0.0.1:{free_port()}")


class TestToken:
    def test_it_is_kept_as_long_as_it_is_good(self, google: Google) -> None:
        found = google.access()
        assert {found.token() for _ in range(3)} == {"ya29.1"}

    def test_one_that_is_about_to_end_is_renewed(self, google: Google) -> None:
        """google-auth calls a token of less than four minutes one that has ended."""
        google.accounts.seconds = 60
        found = google.access()
        assert [found.token(), found.token()] == google.accounts.tokens[-2:]

    def test_it_is_not_shown(self, google: Google) -> None:
        found = google.access()
        assert str(found.token()) not in repr(found)
