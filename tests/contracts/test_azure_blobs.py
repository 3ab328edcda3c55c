"""Blobs on Azure: the contract over Azure's own client, by account key and by identity, with signatures checked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.contracts.blobs_contract import BlobsContract, SignedBlobsContract
from tests.services import free_port
from tests.standins.azure.storage import ACCOUNT, KEY, Storage
from tests.standins.certificates import Certificate, loopback
from tests.standins.raw_http import Answer, serving
from tests.standins.watched_path import WatchedPath

from slipway.adapters.azure.blobs import AzureBlobs
from slipway.errors import Forbidden, Invalid, NotFound, Temporary

CONTAINER = "contexts"


@dataclass
class Azure:
    url: str
    storage: Storage
    certificate: Certificate | None = None

    def blobs(self, prefix: str = "", container: str = CONTAINER, **more: Any) -> AzureBlobs:
        return AzureBlobs(f"{self.url}/{ACCOUNT}/{container}", prefix, pause=0, **more)

    def get(self, url: str) -> httpx.Response:
        return httpx.get(url, verify=str(self.certificate.path) if self.certificate else True)


@pytest.fixture
def azure() -> Iterator[Azure]:
    storage = Storage(containers={CONTAINER: {}})
    with serving(storage) as url:
        yield Azure(url, storage)


@pytest.fixture
def with_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Azure]:
    """Azure's client sends no token over plain HTTP."""
    storage = Storage(containers={CONTAINER: {}})
    folder = tmp_path / "tls"
    folder.mkdir()
    certificate = loopback(folder)
    with serving(storage.identity.answer) as identity, serving(storage, certificate) as url:
        for name, value in storage.identity.environment(identity).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate.path))
        yield Azure(url, storage, certificate)


class TestAzureBlobs(BlobsContract, SignedBlobsContract):
    @pytest.fixture
    def blobs(self, azure: Azure) -> AzureBlobs:
        return azure.blobs(key=KEY)


class TestAzureBlobsUnderAPrefix(BlobsContract, SignedBlobsContract):
    @pytest.fixture
    def blobs(self, azure: Azure) -> AzureBlobs:
        return azure.blobs("slipway/", key=KEY)


class TestAzureBlobsOfAnIdentity(BlobsContract):
    @pytest.fixture
    def blobs(self, with_identity: Azure) -> AzureBlobs:
        return with_identity.blobs()


class TestContainer:
    def test_prefixes_share_it_and_no_key(self, azure: Azure) -> None:
        azure.blobs("ours/", key=KEY).put("a", b"ours")
        assert azure.blobs("theirs/", key=KEY).get("a") is None
        assert azure.storage.containers[CONTAINER] == {"ours/a": b"ours"}

    def test_one_that_is_missing_is_not_taken_for_a_missing_key(self, azure: Azure) -> None:
        blobs = azure.blobs(container="none", key=KEY)
        with pytest.raises(NotFound, match=r"cannot read from .*/none: .*container does not exist"):
            blobs.get("a")
        with pytest.raises(NotFound, match=r"cannot write to .*/none: .*container does not exist"):
            blobs.put("a", b"content")

    def test_a_key_cannot_be_mistaken_for_another(self, azure: Azure) -> None:
        blobs = azure.blobs(key=KEY)
        keys = ("../up", "%2E%2E/up", "up", "a/./b", "a/b", "a/%2E/b", "a/..")
        for key in keys:
            blobs.put(key, key.encode())
        assert [blobs.get(key) for key in keys] == [key.encode() for key in keys]

    def test_a_file_leaves_as_a_stream(self, azure: Azure, tmp_path: Path) -> None:
        """A context of gigabytes does not fit into a function's memory: beyond 64 MiB it goes up in blocks."""
        path = WatchedPath(tmp_path / "context.tar")
        with path.open("wb") as file:
            file.truncate(65 << 20)
        azure.blobs(key=KEY).put("a", path)
        assert azure.storage.containers[CONTAINER]["a"] == bytes(65 << 20)
        assert max(path.reads) <= 4 << 20

    @pytest.mark.parametrize(
        "url", ["contexts", "https://", "https://acme.blob.core.windows.net", "https://acme.blob.core.windows.net/a/b"]
    )
    def test_what_is_no_address_of_one_is_refused_with_an_example(self, url: str) -> None:
        with pytest.raises(Invalid, match=r"ACCOUNT\.blob\.core\.windows\.net/CONTAINER"):
            AzureBlobs(url)


class TestRefusals:
    def test_a_wrong_key_is_told_in_azures_words(self, azure: Azure) -> None:
        blobs = azure.blobs(key=KEY.swapcase())
        with pytest.raises(Forbidden, match="failed to authenticate") as told:
            blobs.put("a", b"content")
        assert KEY.swapcase() not in str(told.value)

    def test_what_passes_is_tried_again(self, azure: Azure) -> None:
        azure.storage.refusals.append(Answer(503, b"", {"x-ms-error-code": "ServerBusy"}))
        azure.blobs(key=KEY).put("a", b"content")
        assert azure.blobs(key=KEY).get("a") == b"content"

    def test_what_does_not_pass_is_temporary(self, azure: Azure) -> None:
        azure.storage.refusals.extend([Answer(503, b"", {"x-ms-error-code": "ServerBusy"})] * 3)
        with pytest.raises(Temporary, match="cannot write to"):
            azure.blobs(key=KEY).put("a", b"content")

    def test_an_account_that_does_not_answer_is_temporary(self) -> None:
        blobs = AzureBlobs(f"http://127.0.0.1:{free_port()}/{ACCOUNT}/{CONTAINER}", key=KEY, pause=0)
        with pytest.raises(Temporary, match="Azure does not answer"):
            blobs.get("a")

    def test_without_credentials_the_cure_is_named(self, with_identity: Azure) -> None:
        with_identity.storage.identity.closed = True
        with pytest.raises(Invalid, match="az login"):
            with_identity.blobs().get("a")


class SignedSuite:
    """What a signed URL is good for, whoever signs it. A binding provides the fixtures."""

    @pytest.fixture
    def place(self) -> Azure:
        raise AssertionError("the binding provides it")

    @pytest.fixture
    def blobs(self, place: Azure) -> AzureBlobs:
        raise AssertionError("the binding provides it")

    @pytest.mark.parametrize("key", ["contexts/a.tar.gz", "a b+c&d=e%20.zip", "équipe/🚢"])
    def test_who_has_the_url_reads_the_blob_and_needs_nothing_else(
        self, place: Azure, blobs: AzureBlobs, key: str
    ) -> None:
        blobs.put(key, b"a context")
        assert place.get(blobs.signed(key, 600)).content == b"a context"

    def test_for_another_blob_it_is_not_good(self, place: Azure, blobs: AzureBlobs) -> None:
        blobs.put("a", b"ours")
        blobs.put("b", b"not given away")
        url = blobs.signed("a", 600).replace(f"{CONTAINER}/a", f"{CONTAINER}/b")
        assert place.get(url).status_code == 403

    def test_after_its_end_it_is_not_good(self, place: Azure, blobs: AzureBlobs) -> None:
        blobs.put("a", b"a context")
        assert place.get(blobs.signed("a", -1)).status_code == 403


class TestSignedByTheAccount(SignedSuite):
    @pytest.fixture
    def place(self, azure: Azure) -> Azure:
        return azure

    @pytest.fixture
    def blobs(self, place: Azure) -> AzureBlobs:
        return place.blobs(key=KEY)


class TestSignedByAnIdentity(SignedSuite):
    @pytest.fixture
    def place(self, with_identity: Azure) -> Azure:
        return with_identity

    @pytest.fixture
    def blobs(self, place: Azure) -> AzureBlobs:
        return place.blobs()
