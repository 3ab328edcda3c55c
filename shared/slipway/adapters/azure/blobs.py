"""Blobs on Azure Blob Storage: build contexts on their way to a builder in a cluster.

Nothing is deleted here: a lifecycle rule of the account expires what is old. Without an account key, an identity needs
the roles Storage Blob Data Contributor on the container and, for URLs that others may use, Storage Blob Delegator on
the account.
https://learn.microsoft.com/en-us/azure/storage/blobs/authorize-access-azure-active-directory
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from slipway.adapters.azure.failures import translated
from slipway.errors import Invalid, Problem

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from azure.storage.blob import BlobServiceClient, ContainerClient

EARLIER = timedelta(minutes=15)
"""How long before now a URL begins to be good, for clocks that are slow.
https://learn.microsoft.com/en-us/azure/storage/common/storage-sas-overview#best-practices-when-using-sas"""


class AzureBlobs:
    """Blobs (see `slipway.ports`) in one container, `https://ACCOUNT.blob.core.windows.net/CONTAINER`, under a prefix
    (`slipway/`, or none). At most 190 TiB each. Safe for use by several threads.

    `key` is one of the account's (W&B's `azureStorageAccessKey`); without it `credential` is used, and without that
    Azure's default one. `pause` is seconds before what may pass is tried again.

    Raises Invalid for what is no such address.
    """

    def __init__(
        self,
        container_url: str,
        prefix: str = "",
        *,
        key: str | None = None,
        credential: TokenCredential | None = None,
        pause: float = 1.0,
    ) -> None:
        self._service, self._account, self._name = _parts(container_url)
        self._prefix = prefix
        self._key = key
        self._credential = credential
        self._pause = pause
        self._lock = threading.Lock()
        self._made: BlobServiceClient | None = None

    def put(self, key: str, content: bytes | Path) -> None:
        with translated(f"write to {self._service}/{self._name}"):
            container = self._container()
            if isinstance(content, Path):
                with content.open("rb") as file:
                    container.upload_blob(self._blob(key), file, overwrite=True)
            else:
                container.upload_blob(self._blob(key), bytes(content), overwrite=True)

    def get(self, key: str) -> bytes | None:
        from azure.core.exceptions import ResourceNotFoundError

        with translated(f"read from {self._service}/{self._name}"):
            try:
                return self._container().download_blob(self._blob(key)).readall()
            except ResourceNotFoundError as error:
                if getattr(error, "error_code", None) == "BlobNotFound":
                    return None
                raise

    def signed(self, key: str, seconds: float) -> str:
        """A URL with which anybody may read it for that long: at most 7 days where no account key signs it.
        https://learn.microsoft.com/en-us/rest/api/storageservices/create-user-delegation-sas"""
        from azure.storage.blob import BlobSasPermissions, generate_blob_sas

        with translated(f"sign a URL of {self._service}/{self._name}"):
            start = datetime.now(UTC) - EARLIER
            end = datetime.now(UTC) + timedelta(seconds=seconds)
            client = self._client()
            signature = generate_blob_sas(
                account_name=self._account,
                container_name=self._name,
                blob_name=self._blob(key),
                account_key=self._key,
                user_delegation_key=None if self._key else client.get_user_delegation_key(start, end),
                permission=BlobSasPermissions(read=True),
                start=start,
                expiry=end,
            )
            return f"{client.get_blob_client(self._name, self._blob(key)).url}?{signature}"

    def _blob(self, key: str) -> str:
        """A part of a path that is nothing but dots would be taken for a step up by whatever carries the request, so it
        is written otherwise. The keys of Slipway's own have none."""
        parts = (self._prefix + key).replace("%", "%25").split("/")
        return "/".join(part.replace(".", "%2E") if not part.strip(".") else part for part in parts)

    def _container(self) -> ContainerClient:
        return self._client().get_container_client(self._name)

    def _client(self) -> BlobServiceClient:
        from azure.storage.blob import BlobServiceClient, LinearRetry

        with self._lock:
            if self._made is None:
                self._made = BlobServiceClient(
                    self._service,
                    credential=self._proof(),
                    connection_timeout=5,
                    read_timeout=30,
                    retry_policy=LinearRetry(self._pause, retry_total=2, random_jitter_range=self._pause / 2),  # type: ignore[arg-type]
                )
            return self._made

    def _proof(self) -> Any:
        if self._key is not None:
            return {"account_name": self._account, "account_key": self._key}
        if self._credential is None:
            from azure.identity import DefaultAzureCredential

            self._credential = DefaultAzureCredential()
        return self._credential


def _parts(url: str) -> tuple[str, str, str]:
    """The service's URL, the account and the container. Where the host is an address, the account is in the path:
    https://learn.microsoft.com/en-us/azure/storage/common/storage-use-azurite#connect-to-azurite-with-sdks-and-tools"""
    split = urlsplit(url)
    names = split.path.strip("/").split("/")
    if split.scheme in ("https", "http") and split.hostname and all(names):
        base = f"{split.scheme}://{split.netloc}"
        if len(names) == 1 and ".blob." in split.hostname:
            return base, split.hostname.partition(".")[0], names[0]
        if len(names) == 2 and ".blob." not in split.hostname:
            return f"{base}/{names[0]}", names[0], names[1]
    fix = "Write it as https://ACCOUNT.blob.core.windows.net/CONTAINER."
    raise Invalid(Problem("container", "is no address of a container", url, fix))
