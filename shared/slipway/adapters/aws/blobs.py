"""Blobs on S3: build contexts on their way to CodeBuild, and what is too large for a record of DynamoDB.

Nothing is deleted here: the bucket's lifecycle rules expire what is old. A role needs `s3:PutObject` and `s3:GetObject`
on the objects, and `s3:ListBucket` on the bucket: without it S3 says 403 instead of 404 of a key that is not there.
https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

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
