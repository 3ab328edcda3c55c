"""A server that says the same to every call: for the errors of AWS that no stand-in of a service brings about."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests import services


@dataclass(frozen=True)
class Refusal:
    """An error, in the form of the services that speak JSON. SQS names its codes in a header, as it did in XML:
    https://smithy.io/2.0/aws/protocols/aws-query-protocol.html#x-amzn-query-error"""

    status: int
    code: str
    words: str


@contextmanager
def answering(answer: Refusal | Mapping[str, Any] | bytes) -> Iterator[str]:
    """The server's URL."""

    def application(environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        headers = [("Content-Type", "application/x-amz-json-1.0"), ("x-amzn-RequestId", "0")]
        if isinstance(answer, Refusal):
            fault = "Sender" if answer.status < 500 else "Receiver"
            start(f"{answer.status} Refused", [*headers, ("x-amzn-query-error", f"{answer.code};{fault}")])
            return [json.dumps({"__type": answer.code, "message": answer.words}).encode()]
        start("200 OK", headers)
        return [answer if isinstance(answer, bytes) else json.dumps(answer).encode()]

    with services.web(application) as host:
        yield f"http://{host}"
