"""API Gateway's part: requests over HTTP become events of payload 2.0 for `submit`, and its answers answers over HTTP.

As there, an answer is passed on when it is whole, and none that is larger than Lambda's 6 MB.
https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from tests.standins.aws.stack import Stack

LARGEST = 6 << 20
"""Bytes of an answer of Lambda."""


class ApiGateway:
    """A WSGI application."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.answered = 0

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        self.answered += 1
        answer = self._stack.call("submit", _event(environ))
        body = answer.get("body", "")
        content = base64.b64decode(body) if answer.get("isBase64Encoded") else body.encode()
        if len(content) > LARGEST:
            start("500 Internal Server Error", [("content-type", "application/json")])
            return [b'{"message":"Internal Server Error"}']
        status = HTTPStatus(answer["statusCode"])
        headers = {name: value for name, value in answer["headers"].items() if name.lower() != "content-length"}
        start(f"{status.value} {status.phrase}", [*headers.items(), ("content-length", str(len(content)))])
        return [content]


def _event(environ: dict[str, Any]) -> dict[str, Any]:
    headers = {
        name.removeprefix("HTTP_").replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_") or name in ("CONTENT_TYPE", "CONTENT_LENGTH")
    }
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"].encode("latin-1").decode()
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": environ["QUERY_STRING"],
        "headers": headers,
        "requestContext": {"http": {"method": method, "path": path, "sourceIp": "203.0.113.7"}, "stage": "$default"},
        "body": body.decode() if body else None,
        "isBase64Encoded": False,
    }
