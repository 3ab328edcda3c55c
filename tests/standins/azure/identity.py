"""The endpoint from which a managed identity of App Service has its tokens: the real azure-identity asks there.

https://learn.microsoft.com/en-us/azure/app-service/overview-managed-identity#rest-endpoint-reference
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.standins.raw_http import Answer, Request

SECRET = "of-the-identity"


@dataclass
class Identity:
    """Its tokens are good for `seconds`."""

    seconds: int = 3600
    closed: bool = False
    issued: list[tuple[str, str]] = field(default_factory=list)
    """(resource, token), oldest first."""

    def environment(self, url: str) -> Mapping[str, str]:
        """Of a process that has this identity, and no other credentials."""
        return {
            "IDENTITY_ENDPOINT": f"{url}/token",
            "IDENTITY_HEADER": SECRET,
            "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
        }

    def answer(self, request: Request) -> Answer:
        if self.closed or request.headers.get("x-identity-header") != SECRET:
            return Answer(400, b'{"statusCode": 400, "message": "No managed identity was found"}')
        resource = request.query["resource"]
        self.issued.append((resource, f"eyJ.{len(self.issued) + 1}"))
        told = {
            "access_token": self.issued[-1][1],
            "expires_on": str(int(time.time()) + self.seconds),
            "resource": resource,
            "token_type": "Bearer",
        }
        return Answer(200, json.dumps(told).encode(), {"Content-Type": "application/json"})

    def knows(self, request: Request, resource: str) -> bool:
        """Whether it came with a token for this resource."""
        tokens = {token for each, token in self.issued if each == resource}
        return request.headers.get("authorization", "").removeprefix("Bearer ") in tokens
