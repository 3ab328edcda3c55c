"""The ASGI application: routes, errors and the docs page put together over the ports of one deployment."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.routing import APIRoute
from starlette.responses import HTMLResponse

from slipway.ports import Ports
from slipway.web import docs, health, items, keys, letters, logs, plans, queues, schemas
from slipway.web.access import LoopbackOnly, caller_of
from slipway.web.replies import LastResort, answer_errors

_ABOUT = """
Slipway launches machine-learning jobs: a submission lands on a queue, its image is built where it must be, and it runs
on the queue's resource.

Send a key as `Authorization: Bearer slip_...`, unless the server was started without keys. A key acts for one entity,
and sees nothing of others. Every error has the shape `ErrorView`.

The examples use `$SLIPWAY_ENDPOINT` and `$SLIPWAY_API_KEY`, as the command line does.
"""

_TAGS = [
    {"name": "queues", "description": "Where jobs wait, what they run on, and what submitters may change."},
    {"name": "items", "description": "Jobs that were submitted, from the queue to the end of their run."},
    {"name": "logs", "description": "What runs and builds print."},
    {"name": "keys", "description": "Who may ask for what. Only with a key for every entity."},
    {"name": "dead letters", "description": "Messages that were given up on. Only with a key for every entity."},
    {"name": "health", "description": "For probes and operators."},
]

_CONTENT_SECURITY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"


def create_app(
    ports: Ports,
    *,
    keyless: bool = False,
    workers: Callable[[], bool] = lambda: True,
    ready: Callable[[], list[str]] = list,
    look_every: float = 1.0,
    follow_for: float | None = None,
    largest: int | None = None,
) -> FastAPI:
    """The HTTP API over `ports`.

    keyless: no key is asked for, and everyone may do everything; only this machine's own callers are answered.
    workers: whether anything is up that takes steps, asked by /ready and explain.
    ready: further reasons why the server is not ready, asked by /ready.
    look_every: seconds between looks at an item whose log is followed.
    follow_for: seconds after which whoever follows a log is asked to come again; None follows to the end.
    largest: bytes of a log in one answer, where the platform passes on no more; None is no limit.
    """
    app = FastAPI(
        title="Slipway",
        version=_version(),
        description=_ABOUT.strip(),
        openapi_tags=_TAGS,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=_operation_id,
    )
    app.state.ports = ports
    app.state.keyless = keyless
    app.state.workers = workers
    app.state.ready = ready
    app.state.look_every = look_every
    app.state.follow_for = follow_for
    app.state.largest = largest
    answer_errors(app)
    if keyless:
        app.add_middleware(LoopbackOnly)
    app.add_middleware(LastResort)
    # Here for all, and so before anything of a stranger's request is read.
    for router in (
        *(queues.router, items.router, plans.router, logs.router),
        *(keys.router, letters.router, health.status),
    ):
        app.include_router(router, responses=schemas.ERRORS, dependencies=[Depends(caller_of)])
    app.include_router(health.probes)
    _describe(app)
    return app


def _describe(app: FastAPI) -> None:
    """The OpenAPI document, completed with what FastAPI cannot see, and the page made from it."""
    generate = app.openapi

    @cache
    def openapi() -> dict[str, Any]:
        spec = generate()
        spec["components"]["schemas"] |= schemas.request_shapes()
        for path, verbs in spec["paths"].items():
            for verb, operation in verbs.items():
                more = schemas.BAD_BODY if "requestBody" in operation else {}
                more = {**more, **(schemas.NOT_THERE if "{" in path and verb != "put" else {})}
                for status, answer in more.items():
                    operation["responses"][str(status)] = schemas.described(answer)
        return spec

    @cache
    def page() -> str:
        return docs.page(openapi())

    @app.get("/docs", include_in_schema=False)
    def documentation() -> HTMLResponse:
        return HTMLResponse(page(), headers={"Content-Security-Policy": _CONTENT_SECURITY})

    app.openapi = openapi  # type: ignore[method-assign]


def _operation_id(route: APIRoute) -> str:
    return "-".join([*map(str, route.tags[:1]), route.name])


def _version() -> str:
    try:
        return version("slipway")
    except PackageNotFoundError:
        return "0"
