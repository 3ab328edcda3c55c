"""A loopback server that speaks the JSON protocol of an AWS service, for the unmodified boto3.

Requests and answers are held against botocore's own model of the service, so that a stand-in takes and says nothing
that AWS would not: https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html. What the service does is a subclass,
one method for each operation.
"""

from __future__ import annotations

import json
import re
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Self

import botocore.session
from botocore.model import ServiceModel
from botocore.validate import ParamValidator
from tests.schemas.sagemaker_model import refusals

_KEY = re.compile(r"Credential=([^/,]+)/\d+/([^/,]+)/")


class ServiceError(Exception):
    """An answer that is an error, as AWS words it."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


class Drop(Enum):
    """The connection breaks without an answer."""

    BEFORE = "before the call took effect"
    AFTER = "after it"


THROTTLED = ServiceError("ThrottlingException", "Rate exceeded")
BROKEN = ServiceError("InternalFailure", "The request processing has failed because of an unknown error.", 500)


@dataclass(frozen=True)
class Request:
    """One that arrived, whatever became of it."""

    operation: str
    body: Mapping[str, Any]
    access_key: str
    region: str
    user_agent: str
    at: float = field(default_factory=time.time, compare=False)
    """Seconds since the Unix epoch, by the clock of this machine."""


class JsonService:
    """Started as a context manager, or by `start` and `stop`. Operations run one at a time, under `lock`."""

    service: ClassVar[str]
    """Its name in botocore."""
    invalid: ClassVar[str] = "ValidationException"
    """The code with which it refuses a request that breaks its model."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.lock = threading.RLock()
        self.requests: list[Request] = []
        self._ahead = 0.0
        self._faults: dict[str, deque[ServiceError | Drop]] = {}
        self._server = _Server((host, 0), _Handler)
        self._server.service = self

    def operations(self) -> Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]]:
        """Operation → what answers it, or raises ServiceError."""
        raise NotImplementedError

    def advanced(self) -> None:
        """The clock was moved. Called under the lock."""

    def settled(self) -> None:
        """A request was worked on, or the clock was moved. Called without the lock, before the answer goes out."""

    # --- its life

    def start(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), name=self.service, daemon=True).start()
        return self

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    # --- what a test does to it

    def now(self) -> float:
        """Seconds since the Unix epoch, by its own clock."""
        return time.time() + self._ahead

    def advance(self, seconds: float) -> None:
        """Its clock goes forward at once."""
        with self.lock:
            self._ahead += seconds
            self.advanced()
        self.settled()

    def inject(self, operation: str, fault: ServiceError | Drop, times: int = 1) -> None:
        """The next `times` calls of the operation go wrong so. boto3 tries a call three times by itself."""
        with self.lock:
            self._faults.setdefault(operation, deque()).extend([fault] * times)

    def calls(self, operation: str) -> list[Request]:
        with self.lock:
            return [request for request in self.requests if request.operation == operation]

    # --- one request

    def answer(self, request: Request) -> dict[str, Any]:
        """Raises ServiceError, and `_Dropped` where the connection breaks."""
        try:
            return self._answer(request)
        finally:
            self.settled()

    def _answer(self, request: Request) -> dict[str, Any]:
        with self.lock:
            self.requests.append(request)
            faults = self._faults.get(request.operation)
            fault = faults.popleft() if faults else None
            if isinstance(fault, ServiceError):
                raise fault
            if fault is Drop.BEFORE:
                raise _Dropped
            known = self.operations()
            if request.operation not in known:
                raise ServiceError("UnknownOperationException", f"This stand-in has no {request.operation}")
            shape = _model(self.service).operation_model(request.operation)
            if broken := refusals(request.body, shape.input_shape):
                count = f"{len(broken)} validation error{'s' * (len(broken) > 1)} detected"
                raise ServiceError(self.invalid, f"{count}: {'; '.join(broken)}")
            answer = known[request.operation](dict(request.body))
            if fault is Drop.AFTER:
                raise _Dropped
        if shape.output_shape is not None:
            report = ParamValidator().validate(answer, shape.output_shape)
            if report.has_errors():
                raise ServiceError("InternalFailure", f"The stand-in is wrong: {report.generate_report()}", 500)
        return answer


class _Dropped(Exception):
    """No answer."""


@cache
def _model(service: str) -> ServiceModel:
    return botocore.session.Session().get_service_model(service)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    service: JsonService


class _Handler(BaseHTTPRequestHandler):
    """Keeps connections open. A reply is one write: two would wait for each other's acknowledgement."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            status, answer = 200, self.server.service.answer(self._request(body))
        except ServiceError as error:
            status, answer = error.status, {"__type": error.code, "message": error.message}
        except _Dropped:
            self.close_connection = True
            return
        except Exception as error:  # a mistake in a stand-in is told to the test, not to its log
            status, answer = 500, {"__type": "InternalFailure", "message": f"The stand-in is wrong: {error!r}"}
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("x-amzn-RequestId", str(uuid.uuid4()))
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    def _request(self, body: bytes) -> Request:
        target = self.headers.get("X-Amz-Target", "")
        found = _KEY.search(self.headers.get("Authorization", ""))
        if found is None:
            raise ServiceError("MissingAuthenticationTokenException", "Missing Authentication Token", 403)
        try:
            parsed = json.loads(body or b"{}")
        except ValueError as error:
            raise ServiceError("SerializationException", str(error)) from error
        agent = self.headers.get("User-Agent", "")
        return Request(target.rpartition(".")[2], parsed, found[1], found[2], agent)

    def log_message(self, format: str, *args: Any) -> None:
        """Tests read `requests`."""
