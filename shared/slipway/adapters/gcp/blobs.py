"""Blobs on Google Cloud Storage: build contexts on their way to a builder in a cluster.

Two calls of its JSON API and one signature, over google-auth: Google's own client costs 0.4 s of import, and asks for
the bucket in a thread of its own.

Nothing is deleted here: the bucket's lifecycle rules expire what is old. An account needs the role Storage Object User
on the bucket; without the right to list, GCS says 403 instead of 404 of an object that is not there.
https://cloud.google.com/storage/docs/json_api/v1
"""

from __future__ import annotations

import json
import threading
from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import quote, urlencode, urlsplit

from slipway.adapters.gcp.failures import of_answer, translated
from slipway.errors import Permanent

if TYPE_CHECKING:
    from google.auth.credentials import Credentials
    from google.auth.transport.requests import AuthorizedSession

SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
STORAGE = "https://storage.googleapis.com"
IAM = "https://iamcredentials.googleapis.com"
TIMEOUT = 30.0
"""Seconds for which one connection may be silent."""
ATTEMPTS = 3
PASSING = (408, 429, 500, 502, 503, 504)
"""HTTP status of what is tried again. https://cloud.google.com/storage/docs/retry-strategy"""
ALGORITHM = "GOOG4-RSA-SHA256"


class GcsBlobs:
    """Blobs (see `slipway.ports`) in one bucket, under a prefix (`slipway/`, or none). Safe for use by several threads.
    `credentials` None are Google's default ones; `pause` is seconds before the first repetition, and doubles."""

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        credentials: Credentials | None = None,
        *,
        storage: str = STORAGE,
        iam: str = IAM,
        pause: float = 0.5,
    ) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self._credentials = credentials
        self._storage = storage
        self._iam = iam
        self._pause = pause
        self._lock = threading.Lock()
        self._session: AuthorizedSession | None = None

    def put(self, key: str, content: bytes | Path) -> None:
        with content.open("rb") if isinstance(content, Path) else BytesIO(content) as file:
            self._upload(self._prefix + key, file)

    def get(self, key: str) -> bytes | None:
        doing = f"read from gs://{self._bucket}"
        with translated(doing):
            name = quote(self._prefix + key, safe="")
            url = f"{self._storage}/storage/v1/b/{quote(self._bucket)}/o/{name}"
            answer = self._opened().get(url, params={"alt": "media"}, timeout=TIMEOUT)
        if answer.status_code == 404 and "bucket does not exist" not in answer.text:
            return None
        if answer.status_code != 200:
            raise of_answer(doing, answer.status_code, answer.text, answer.headers.get("Retry-After"))
        return bytes(answer.content)

    def signed(self, key: str, seconds: float) -> str:
        """A URL with which anybody may read it for that long, at most 7 days. An account without a key of its own (of a
        pod, a function, a machine) has Google sign it, for which it needs the role Service Account Token Creator on
        itself. https://cloud.google.com/storage/docs/authentication/signatures

        Raises Permanent for credentials that are no service account's."""
        with translated(f"sign a URL of gs://{self._bucket}"):
            email, sign = self._signer()
            path = f"/{self._bucket}/{quote(self._prefix + key, safe='/~')}"
            host, now = urlsplit(self._storage).netloc, datetime.now(UTC)
            scope = f"{now:%Y%m%d}/auto/storage/goog4_request"
            query = {
                "X-Goog-Algorithm": ALGORITHM,
                "X-Goog-Credential": f"{email}/{scope}",
                "X-Goog-Date": f"{now:%Y%m%dT%H%M%SZ}",
                "X-Goog-Expires": str(int(seconds)),
                "X-Goog-SignedHeaders": "host",
            }
            asked = urlencode(query, quote_via=quote, safe="~")
            canonical = f"GET\n{path}\n{asked}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD"
            text = f"{ALGORITHM}\n{query['X-Goog-Date']}\n{scope}\n{sha256(canonical.encode()).hexdigest()}"
            return f"{self._storage}{path}?{asked}&X-Goog-Signature={sign(text.encode()).hex()}"

    def _upload(self, name: str, file: IO[bytes]) -> None:
        doing = f"write to gs://{self._bucket}"
        with translated(doing):
            url = f"{self._storage}/upload/storage/v1/b/{quote(self._bucket)}/o"
            headers = {"Content-Type": "application/octet-stream"}
            asked = {"uploadType": "media", "name": name}
            answer = self._opened().post(url, params=asked, data=file, headers=headers, timeout=TIMEOUT)
        if answer.status_code != 200:
            raise of_answer(doing, answer.status_code, answer.text, answer.headers.get("Retry-After"))

    def _signer(self) -> tuple[str, Callable[[bytes], bytes]]:
        """The account's address, and what signs as it."""
        from google.auth.credentials import Signing
        from google.auth.transport.requests import Request

        known = self._known()
        if isinstance(known, Signing):
            return str(known.signer_email), known.sign_bytes
        if not known.valid:
            # Only then does an account of a machine know its own address.
            known.refresh(Request())  # type: ignore[no-untyped-call]
        email = str(getattr(known, "service_account_email", ""))
        if "@" not in email:
            raise Permanent("cannot sign a URL: these credentials are no service account's. Give the process one")
        return email, lambda text: self._signed_by_google(email, text)

    def _signed_by_google(self, email: str, text: bytes) -> bytes:
        """https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/signBlob"""
        url = f"{self._iam}/v1/projects/-/serviceAccounts/{email}:signBlob"
        answer = self._opened().post(url, json={"payload": b64encode(text).decode()}, timeout=TIMEOUT)
        if answer.status_code != 200:
            raise of_answer(f"sign as {email}", answer.status_code, answer.text)
        return b64decode(json.loads(answer.content)["signedBlob"])

    def _known(self) -> Credentials:
        import google.auth

        with self._lock:
            if self._credentials is None:
                self._credentials, _ = google.auth.default(scopes=SCOPES)
            return self._credentials

    def _opened(self) -> AuthorizedSession:
        from google.auth.transport.requests import AuthorizedSession
        from requests.adapters import HTTPAdapter
        from urllib3.util import Retry

        known = self._known()
        with self._lock:
            if self._session is None:
                # It would send a body once more from where the first time has left it.
                session = AuthorizedSession(known, max_refresh_attempts=0)  # type: ignore[no-untyped-call]
                again = Retry(
                    ATTEMPTS - 1,
                    status_forcelist=PASSING,
                    allowed_methods=None,
                    backoff_factor=self._pause,
                    raise_on_status=False,
                )
                for scheme in ("https://", "http://"):
                    session.mount(scheme, HTTPAdapter(max_retries=again))
                self._session = session
            return self._session
