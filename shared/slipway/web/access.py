"""Who is asking, and what they may: bearer keys, and what stands in for them on a machine of one's own.

A server without keys is only safe while nobody but its machine can reach it. A browser on that machine can, on behalf
of any web page: directly (cross-origin requests), or under a name that the page's owner points at 127.0.0.1 (DNS
rebinding). So a keyless server answers only to loopback names, and to no other site's pages.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Path, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from slipway.errors import Forbidden, NotFound
from slipway.keys import EVERY_ENTITY, holder, may, require
from slipway.model import ApiKey, Item
from slipway.ports import Ports
from slipway.web.replies import refusal


async def ports_of(request: Request) -> Ports:
    ports: Ports = request.app.state.ports
    return ports


PortsOf = Annotated[Ports, Depends(ports_of)]

_bearer = HTTPBearer(
    auto_error=False,
    description="A key made by `slipway key create` or `POST /v1/keys`. It acts for one entity, or for all (`*`). "
    "A server started without keys needs none.",
)


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever asks: the key they hold, or one for every entity on a keyless server."""

    key: ApiKey

    @property
    def entity(self) -> str | None:
        """The one entity that the caller acts for; None when it is every one."""
        return None if self.key.entity == EVERY_ENTITY else self.key.entity

    def may(self, entity: str) -> bool:
        return may(self.key, entity)

    def require(self, entity: str) -> None:
        """Raises Forbidden."""
        require(self.key, entity)

    def require_every(self, what: str) -> None:
        """Raises Forbidden. `what` needs such a key, as in "keys are managed"."""
        if self.entity is not None:
            raise Forbidden(f"{what} with a key for every entity; this one is for '{self.entity}' alone")


def caller_of(
    request: Request, ports: PortsOf, sent: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Caller:
    """Answers 401 without a known key, unless the server was started without keys."""
    if request.app.state.keyless:
        return _ANYONE
    key = None if sent is None else holder(sent.credentials, ports.store)
    if key is None:
        why = "no key was sent" if sent is None else "the key is not known, or was revoked"
        raise HTTPException(
            401, f"{why}; send `Authorization: Bearer slip_...`", {"WWW-Authenticate": 'Bearer realm="slipway"'}
        )
    return Caller(key)


CallerOf = Annotated[Caller, Depends(caller_of)]
_ANYONE = Caller(ApiKey("", EVERY_ENTITY, "keyless", 0.0))


ItemId = Annotated[str, Path(description="The id that its submission was answered with.")]


def own_item(item_id: ItemId, caller: CallerOf, ports: PortsOf) -> Item:
    """The item of the path. Another entity's is not found, as if it did not exist. Raises NotFound."""
    item = ports.store.item(item_id)
    if item is None or not caller.may(item.submission.entity):
        raise NotFound(f"there is no item '{item_id}'")
    return item


OwnItem = Annotated[Item, Depends(own_item)]


class LoopbackOnly:
    """For a keyless server: refuses names that are not this machine's, and pages of other sites."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (why := _stranger(Headers(scope=scope), scope.get("scheme", "http"))):
            await refusal(403, f"{why}; this server runs without keys and answers to its own machine only")(
                scope, receive, send
            )
            return
        await self._app(scope, receive, send)


def _stranger(headers: Headers, scheme: str) -> str:
    host = headers.get("host", "")
    if not _loopback(host):
        return f"the Host '{host}' is not a loopback name"
    origin = headers.get("origin")
    if origin is not None and origin.lower() != f"{scheme}://{host}".lower():
        return f"the request comes from a page of '{origin}'"
    if headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        return "the request comes from a page of another site"
    return ""


def _loopback(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or name.endswith(".localhost") or ip_address(name).is_loopback
    except ValueError:
        return False
