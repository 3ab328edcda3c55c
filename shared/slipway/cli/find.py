"""Which item a person means: its id, enough of the id's first or last letters, or its run's name."""

from __future__ import annotations

from collections.abc import Iterator

from slipway.cli.client import Client, path
from slipway.errors import Invalid, NotFound, Problem
from slipway.model import Json

ID_LENGTH = 16
PAGE = 500
SEARCHED = 5000
"""The newest items among which a part of an id or a name is looked for."""
SHOWN = 5


def find(client: Client, text: str) -> str:
    """The item's id. Raises NotFound, and Invalid when several are meant."""
    if _is_id(text) and _exists(client, text):
        return text
    named: list[Json] = []
    matching: list[Json] = []
    for item in _newest(client):
        if item["id"] == text:
            return text
        if item["name"] == text:
            named.append(item)
        elif item["id"].startswith(text) or item["id"].endswith(text):
            matching.append(item)
    candidates = named or matching
    if not candidates:
        raise NotFound(f"no item has an id or a name like '{text}'; `slipway ps --all` lists what there is")
    if len(candidates) > 1:
        ids = ", ".join(item["id"] for item in candidates[:SHOWN])
        more = f" and {len(candidates) - SHOWN} more" if len(candidates) > SHOWN else ""
        rule = "is the name of several items" if named else "begins or ends the ids of several items"
        raise Invalid(Problem("ITEM", rule, text, f"Take one of {ids}{more}."))
    return str(candidates[0]["id"])


def listed(client: Client, limit: int, **query: Json) -> Iterator[Json]:
    """Items newest first, page by page, up to `limit`."""
    before = None
    while limit > 0:
        page = client.get("/v1/items", limit=min(limit, PAGE), before=before, **query)
        yield from page["items"]
        limit -= len(page["items"])
        before = page.get("next")
        if not before or not page["items"]:
            return


def _newest(client: Client) -> Iterator[Json]:
    return listed(client, SEARCHED)


def _is_id(text: str) -> bool:
    return len(text) == ID_LENGTH and text.isascii() and text.isalnum()


def _exists(client: Client, item_id: str) -> bool:
    try:
        client.get(path("items", item_id))
    except NotFound:
        return False
    return True
