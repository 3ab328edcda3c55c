"""A service account of Google Cloud, and the token endpoint that knows it: the real google-auth signs in there.

https://developers.google.com/identity/protocols/oauth2/service-account#httprest
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import jwt
from tests.standins.raw_http import Answer, Request

EMAIL = "slipway@research.iam.gserviceaccount.com"
KEY_ID = "k1"
AUDIENCE = "https://oauth2.googleapis.com/token"
"""What google-auth signs in to, wherever the endpoint of the account's file is."""


@dataclass
class Accounts:
    """Answers `/token`. Its tokens are good for `seconds`."""

    seconds: int = 3600
    closed: str = ""
    """Why nobody gets a token, where that is so: Google's own word, such as invalid_grant."""
    tokens: list[str] = field(default_factory=list)
    scopes: set[str] = field(default_factory=set)
    """Asked for by the last who signed in."""
    key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))

    def key_file(self, folder: Path, url: str) -> Path:
        """As `gcloud iam service-accounts keys create` writes it, for a token endpoint at `url`."""
        form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        document = {
            "type": "service_account",
            "project_id": "research",
            "private_key_id": KEY_ID,
            "private_key": self.key.private_bytes(serialization.Encoding.PEM, form, plain).decode(),
            "client_email": EMAIL,
            "token_uri": f"{url}/token",
        }
        path = folder / "account.json"
        path.write_text(json.dumps(document))
        return path

    def answer(self, request: Request) -> Answer:
        if self.closed:
            return Answer(400, json.dumps({"error": self.closed, "error_description": "Account deleted"}).encode())
        form = parse_qs(request.body.decode())
        claims = jwt.decode(form["assertion"][0], certs={KEY_ID: self.public()}, audience=AUDIENCE)
        assert claims["iss"] == EMAIL
        self.scopes = set(claims["scope"].split())
        self.tokens.append(f"ya29.{len(self.tokens) + 1}")
        told = {"access_token": self.tokens[-1], "expires_in": self.seconds, "token_type": "Bearer"}
        return Answer(200, json.dumps(told).encode(), {"Content-Type": "application/json"})

    def knows(self, request: Request) -> bool:
        """Whether it came with one of its tokens."""
        return request.headers.get("authorization", "").removeprefix("Bearer ") in self.tokens

    def public(self) -> bytes:
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self.key.public_key().public_bytes(serialization.Encoding.PEM, form)
