"""Blobs on Google Cloud Storage: the contract over google-auth, and URLs whose signatures are checked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from tests.contracts.blobs_contract import BlobsContract, SignedBlobsContract
from tests.standins.gcp.accounts import EMAIL, Accounts
from tests.standins.gcp.storage import Storage
from tests.standins.raw_http import Answer, serving
from tests.standins.watched_path import WatchedPath

from slipway.adapters.gcp.blobs import GcsBlobs
from slipway.errors import Forbidden, Invalid, NotFound, Permanent, Refused, Temporary

BUCKET = "contexts-of-research"


@dataclass
class Gcs:
    url: str
    storage: Storage

    def blobs(self, prefix: str = "", bucket: str = BUCKET, **more: float) -> GcsBlobs:
        return GcsBlobs(bucket, prefix, storage=self.url, iam=self.url, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def accounts() -> Accounts:
    """Its key takes a while to make."""
    return Accounts()


@pytest.fixture
def gcs(accounts: Accounts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gcs]:
    storage = Storage(accounts, {BUCKET: {}})
    with serving(storage) as url:
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(accounts.key_file(tmp_path, url)))
        yield Gcs(url, storage)


class TestGcsBlobs(BlobsContract, SignedBlobsContract):
    @pytest.fixture
    def blobs(self, gcs: Gcs) -> GcsBlobs:
        return gcs.blobs()


class TestGcsBlobsUnderAPrefix(BlobsContract, SignedBlobsContract):
    @pytest.fixture
    def blobs(self, gcs: Gcs) -> GcsBlobs:
        return gcs.blobs("slipway/")


class TestBucket:
    def test_prefixes_share_it_and_no_key(self, gcs: Gcs) -> None:
        gcs.blobs("ours/").put("a", b"ours")
        assert gcs.blobs("theirs/").get("a") is None
        assert gcs.storage.buckets[BUCKET] == {"ours/a": b"ours"}

    def test_one_that_is_missing_is_not_taken_for_a_missing_key(self, gcs: Gcs) -> None:
        blobs = gcs.blobs(bucket="none")
        with pytest.raises(NotFound, match=r"cannot read from gs://none: .*bucket does not exist"):
            blobs.get("a")
        with pytest.raises(NotFound, match=r"cannot write to gs://none: .*bucket does not exist"):
            blobs.put("a", b"content")

    def test_a_file_leaves_as_a_stream(self, gcs: Gcs, tmp_path: Path) -> None:
        """A context of gigabytes does not fit into a function's memory."""
        path = WatchedPath(tmp_path / "context.tar")
        path.write_bytes(b"x" * (4 << 20))
        gcs.blobs().put("a", path)
        assert gcs.storage.buckets[BUCKET]["a"] == b"x" * (4 << 20)
        assert max(path.reads) <= 1 << 20
        assert not gcs.storage.chunked


class TestRefusals:
    def test_a_right_that_is_missing_is_told_in_googles_words(self, gcs: Gcs) -> None:
        words = f"{EMAIL} does not have storage.objects.create access to the Google Cloud Storage object."
        gcs.storage.refusals.append(Answer(403, f'{{"error": {{"code": 403, "message": "{words}"}}}}'.encode()))
        with pytest.raises(Forbidden, match=r"cannot write to gs://.*storage\.objects\.create"):
            gcs.blobs().put("a", b"content")

    def test_what_passes_is_tried_again(self, gcs: Gcs) -> None:
        gcs.storage.refusals.append(Answer(503, b"Service Unavailable"))
        gcs.blobs().put("a", b"content")
        assert gcs.blobs().get("a") == b"content"

    def test_what_does_not_pass_is_temporary(self, gcs: Gcs) -> None:
        gcs.storage.refusals.extend([Answer(503, b"Service Unavailable")] * 3)
        with pytest.raises(Temporary, match="cannot read from gs://"):
            gcs.blobs(pause=0.0).get("a")

    def test_without_credentials_the_cure_is_named(
        self, gcs: Gcs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS")
        monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "gcloud"))
        monkeypatch.setenv("NO_GCE_CHECK", "true")
        with pytest.raises(Invalid, match="gcloud auth application-default login"):
            gcs.blobs().get("a")

    def test_credentials_that_were_taken_away_are_waited_for(self, gcs: Gcs, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(gcs.storage.accounts, "closed", "invalid_grant")
        with pytest.raises(Refused, match="invalid_grant"):
            gcs.blobs().get("a")


class TestSigned:
    def test_it_is_good_for_as_long_as_was_asked(self, gcs: Gcs) -> None:
        query = parse_qs(urlsplit(gcs.blobs().signed("a", 600)).query)
        assert query["X-Goog-Expires"] == ["600"]

    def test_for_another_blob_it_is_not_good(self, gcs: Gcs) -> None:
        blobs = gcs.blobs()
        blobs.put("a", b"ours")
        blobs.put("b", b"not given away")
        assert httpx.get(blobs.signed("a", 600).replace(f"{BUCKET}/a", f"{BUCKET}/b")).status_code == 403


class TestSignedByGoogle:
    """An account without a key of its own: of a pod, a function, a machine."""

    @pytest.fixture
    def blobs(self, gcs: Gcs) -> GcsBlobs:
        import google.auth
        from google.auth import credentials
        from google.auth.transport.requests import Request

        whole, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])

        class OfAPod(credentials.Credentials):
            service_account_email = EMAIL

            def refresh(self, request: Request) -> None:
                whole.refresh(request)
                self.token, self.expiry = whole.token, whole.expiry

        return GcsBlobs(BUCKET, credentials=OfAPod(), storage=gcs.url, iam=gcs.url)

    def test_its_urls_are_good(self, blobs: GcsBlobs) -> None:
        blobs.put("a", b"a context")
        assert httpx.get(blobs.signed("a", 600)).content == b"a context"

    def test_without_the_right_to_have_them_signed_it_is_said(self, gcs: Gcs, blobs: GcsBlobs) -> None:
        words = "Permission 'iam.serviceAccounts.signBlob' denied on resource (or it may not exist)."
        gcs.storage.refusals.append(Answer(403, f'{{"error": {{"code": 403, "message": "{words}"}}}}'.encode()))
        with pytest.raises(Forbidden, match=rf"sign as {EMAIL}: .*signBlob"):
            blobs.signed("a", 600)

    def test_a_persons_credentials_cannot_sign(self, gcs: Gcs) -> None:
        from google.oauth2.credentials import Credentials

        blobs = GcsBlobs(BUCKET, credentials=Credentials("ya29.person"), storage=gcs.url, iam=gcs.url)
        with pytest.raises(Permanent, match="no service account's"):
            blobs.signed("a", 600)
