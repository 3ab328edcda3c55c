"""Blobs on S3: build contexts on their way to CodeBuild, and what is too large for a record of DynamoDB.

Nothing is deleted here: the bucket's lifecycle rules expire what is old. A role needs `s3:PutObject` and `s3:GetObject`
on the objects, and `s3:ListBucket` on the bucket: without it S3 says 403 instead of 404 of a key that is not there.
https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from slipway.adapters.aws.failures import code_of, translated

if TYPE_CHECKING:
    from slipway.adapters.aws.clients import Clients


class S3Blobs:
    """Blobs (see `slipway.ports`) in one bucket, under a prefix (`slipway/`, or none). At most 5 GB each."""

    def __init__(self, clients: Clients, bucket: str, prefix: str = "") -> None:
        self._clients = clients
        self._bucket = bucket
        self._prefix = prefix

    def put(self, key: str, content: bytes | Path) -> None:
        with translated(f"write to s3://{self._bucket}"):
            if isinstance(content, Path):
                with content.open("rb") as file:
                    self._clients.s3.put_object(Bucket=self._bucket, Key=self._prefix + key, Body=file)
            else:
                self._clients.s3.put_object(Bucket=self._bucket, Key=self._prefix + key, Body=content)

    def get(self, key: str) -> bytes | None:
        from botocore.exceptions import ClientError

        with translated(f"read from s3://{self._bucket}"):
            try:
                answer = self._clients.s3.get_object(Bucket=self._bucket, Key=self._prefix + key)
            except ClientError as error:
                if code_of(error) == "NoSuchKey":
                    return None
                raise
            return answer["Body"].read()

    def signed(self, key: str, seconds: float) -> str:
        """See ports.SignedBlobs. Ends with the session of a role, however long it was to be.
        https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-presigned-url.html"""
        what = {"Bucket": self._bucket, "Key": self._prefix + key}
        with translated(f"sign for s3://{self._bucket}"):
            return str(self._signer().generate_presigned_url("get_object", Params=what, ExpiresIn=int(seconds)))

    def _signer(self) -> Any:
        """A client that signs as every region takes it, for the bucket's own host. Left to itself botocore signs a URL
        in the old way, and for a host that leads elsewhere while the bucket is new. A server that is not AWS's (MinIO)
        has no such hosts: there the bucket is a part of the path."""
        from botocore.config import Config
        from botocore.session import Session

        ours = self._clients.credentials()
        server = urlsplit(self._clients.s3.meta.endpoint_url).hostname or ""
        hosts = server.endswith((".amazonaws.com", ".amazonaws.com.cn"))
        return Session().create_client(
            "s3",
            region_name=self._clients.region,
            aws_access_key_id=ours.access_key,
            aws_secret_access_key=ours.secret_key,
            aws_session_token=ours.token,
            config=Config(signature_version="s3v4", s3={"addressing_style": "virtual" if hosts else "path"}),
        )
