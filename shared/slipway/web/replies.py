"""What every answer of the framework has in common: its JSON, and errors of one shape whatever went wrong."""

from __future__ import annotations

import logging
from typing import Any
from uuid import uuid4

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from slipway.errors import Invalid, Problem, SlipwayError
from slipway.views import error_document
from slipway.web.answers import HEADERS, Answer, encoded, failed

_KINDS = {401: "unauthorised", 403: "forbidden", 404: "not_found", 409: "conflict", 503: "temporary"}

log = logging.getLogger(__name__)


class Json(JSONResponse):
    """A document that always encodes, and is never cached."""

    def render(self, content: Any) -> bytes:
        return encoded(content)

    def init_headers(self, headers: Any = None) -> None:
        super().init_headers({**HEADERS, **(headers or {})})


def reply(answer: Answer) -> Json:
    return Json(answer.document, answer.status, dict(answer.headers))


def refusal(status: int, message: str, headers: dict[str, str] | None = None) -> Json:
    """An error that has no SlipwayError: it is about HTTP, not about the thing asked for."""
    kind = _KINDS.get(status, "internal" if status >= 500 else "invalid")
    return Json({"error": {"kind": kind, "message": message, "problems": []}}, status, headers)


def answer_errors(app: FastAPI) -> None:
    """Every error leaves in the one shape, with its status."""
    app.add_exception_handler(SlipwayError, _slipway_error)
    app.add_exception_handler(RequestValidationError, _bad_parameters)
    app.add_exception_handler(HTTPException, _http_error)


class LastResort:
    """A bug answers 500 with a reference to the log, which has the traceback; the server lives on."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def watch(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except Exception:
            reference = uuid4().hex[:8]
            log.exception("%s %s failed unexpectedly (%s)", scope["method"], scope["path"], reference)
            if not started:
                message = f"an error inside Slipway; its log says more under {reference}"
                await refusal(500, message)(scope, receive, send)


def _slipway_error(_: Request, error: Exception) -> Json:
    assert isinstance(error, SlipwayError)
    return reply(failed(error))


def _bad_parameters(_: Request, error: Exception) -> Json:
    assert isinstance(error, RequestValidationError)
    problems = [
        Problem(_field(each["loc"]), each["msg"][:1].lower() + each["msg"][1:], each.get("input"))
        for each in error.errors()
    ]
    return Json(error_document(Invalid(problems)), 422)


def _field(place: tuple[str | int, ...]) -> str:
    """`state`, of FastAPI's `("query", "state", 0)`."""
    return next(str(each) for each in reversed(place) if isinstance(each, str))


def _http_error(request: Request, error: Exception) -> Json:
    assert isinstance(error, HTTPException)
    message = error.detail
    if error.status_code == 404:
        message = f"there is nothing at {request.url.path}; /docs lists what there is"
    elif error.status_code == 405:
        message = f"{request.url.path} does not take {request.method}; /docs lists what there is"
    return refusal(error.status_code, message, dict(error.headers or {}))
