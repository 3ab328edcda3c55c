"""Blobs on S3: the contract over the real boto3, and what only S3 has: buckets, prefixes, requests that fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.contracts.blobs_contract import BlobsContract, SignedBlobsContract
from tests.standins.aws.moto_server import REGION, unique

from slipway.adapters.aws.blobs import S3Blobs
from slipway.adapters.aws.clients import Clients
from slipway.errors import NotFound


@pytest.fixture
def bucket(aws: Clients) -> str:
    name = unique("blobs")
    aws.s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    return name


class TestS3Blobs(BlobsContract, SignedBlobsContract):
    @pytest.fixture
    def blobs(self, aws: Clients, bucket: str) -> S3Blobs:
        return S3Blobs(aws, bucket)


class TestS3BlobsUnderAPrefix(BlobsContract, SignedBlobsContract):
    @pytest.fixture
    def blobs(self, aws: Clients, bucket: str) -> S3Blobs:
        return S3Blobs(aws, bucket, "slipway/")


def test_prefixes_share_a_bucket_and_no_key(aws: Clients, bucket: str) -> None:
    ours, theirs = S3Blobs(aws, bucket, "ours/"), S3Blobs(aws, bucket, "theirs/")
    ours.put("a", b"ours")
    assert theirs.get("a") is None
    theirs.put("a", b"theirs")
    assert ours.get("a") == b"ours"
    assert S3Blobs(aws, bucket).get("ours/a") == b"ours"


def test_a_missing_bucket_is_said_and_not_taken_for_a_missing_key(aws: Clients) -> None:
    blobs = S3Blobs(aws, unique("none"))
    with pytest.raises(NotFound, match=r"cannot read from s3://none-.*bucket does not exist"):
        blobs.get("a")
    with pytest.raises(NotFound, match=r"cannot write to s3://none-.*bucket does not exist"):
        blobs.put("a", b"content")


def test_a_file_leaves_as_a_stream(aws: Clients, bucket: str, tmp_path: Path) -> None:
    """A context of gigabytes does not fit into a function's memory."""
    path = tmp_path / "context.zip"
    path.write_bytes(b"x" * 100_000)
    bodies: list[Any] = []
    aws.s3.meta.events.register("before-send.s3.PutObject", lambda request, **_: bodies.append(request.body))
    S3Blobs(aws, bucket).put("a", path)
    (body,) = bodies
    assert not isinstance(body, bytes | bytearray | str)
    assert callable(body.read)


@pytest.mark.parametrize(
    ("region", "host"), [("eu-west-1", "s3.eu-west-1.amazonaws.com"), ("cn-north-1", "s3.cn-north-1.amazonaws.com.cn")]
)
def test_a_url_is_signed_as_every_region_takes_it(
    aws: Clients, region: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With version 4, for the bucket's own host in its own region, and for no longer than was asked.
    https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html"""
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    url = urlsplit(S3Blobs(aws.in_region(region), "contexts", "slipway/").signed("a b.tar.gz", 86400.0))
    query = parse_qs(url.query)
    assert (url.scheme, url.netloc, url.path) == ("https", f"contexts.{host}", "/slipway/a%20b.tar.gz")
    assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert query["X-Amz-Credential"][0].split("/")[2:] == [region, "s3", "aws4_request"]
    assert query["X-Amz-Expires"] == ["86400"]


@pytest.mark.parametrize("name", ["contexts", "contexts.example.com"])
def test_a_url_of_a_server_that_is_not_awss_has_the_bucket_in_its_path(
    aws: Clients, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S22: a MinIO of one's own has one host for all buckets."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://minio.example.com:9000")
    url = urlsplit(S3Blobs(Clients(aws.region), name, "slipway/").signed("a", 60.0))
    assert (url.netloc, url.path) == ("minio.example.com:9000", f"/{name}/slipway/a")
    assert "X-Amz-Signature" in parse_qs(url.query)


def test_a_bucket_whose_name_no_certificate_covers_is_a_part_of_the_path(
    aws: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    url = urlsplit(S3Blobs(aws.in_region("eu-west-1"), "contexts.example.com").signed("a", 60.0))
    assert (url.netloc, url.path) == ("s3.eu-west-1.amazonaws.com", "/contexts.example.com/a")
