"""Request bodies: read up to a limit, then parsed as the content type says, with the place of a mistake named."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Depends, Request
from starlette.exceptions import HTTPException

from slipway.documents import Twice, check_json, distinct
from slipway.errors import Invalid, Problem
from slipway.model import Json
from slipway.web.answers import LIMIT


async def body_of(request: Request) -> bytes:
    """Answers 413 over the limit, before the rest is read."""
    body = bytearray()
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared[:20]) > LIMIT:
        raise _too_large()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LIMIT:
            raise _too_large()
    return bytes(body)


def document_of(request: Request, body: Annotated[bytes, Depends(body_of)]) -> dict[str, Json]:
    """The body as a mapping. Answers 400 where it is not the format that it says, 422 where it is not a mapping.

    JSON, unless the content type speaks of YAML.
    """
    yaml = "yaml" in request.headers.get("content-type", "").lower()
    document = _yaml(body) if yaml else _json(body)
    check_json(document)
    if not isinstance(document, Mapping):
        raise Invalid(Problem("document", "must be a mapping of fields to values", document))
    return dict(document)


Document = Annotated[dict[str, Json], Depends(document_of)]


def _json(body: bytes) -> Json:
    try:
        return json.loads(body.decode(), object_pairs_hook=distinct)
    except UnicodeDecodeError as error:
        raise _bad_text(error) from error
    except Twice as error:
        raise HTTPException(400, f"the body has the field '{error}' twice in one object") from error
    except json.JSONDecodeError as error:
        message = f"the body is not JSON: line {error.lineno}, column {error.colno}: {error.msg}"
        raise HTTPException(400, message) from error
    except (ValueError, RecursionError) as error:
        # Integers of thousands of digits, and brackets nested by the thousand.
        raise HTTPException(400, f"the body cannot be read as JSON: {error}") from error


def _yaml(body: bytes) -> Json:
    import yaml

    # The C parser where PyYAML has it: the other takes half a minute over a megabyte.
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return yaml.load(body.decode(), Loader=loader)  # noqa: S506  (both loaders are safe ones)
    except UnicodeDecodeError as error:
        raise _bad_text(error) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
        raise HTTPException(400, f"the body is not YAML: {place}{error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError, RecursionError, TypeError) as error:
        raise HTTPException(400, f"the body cannot be read as YAML: {error}") from error


def _bad_text(error: UnicodeDecodeError) -> HTTPException:
    before = bytes(error.object[: error.start])
    line, column = before.count(b"\n") + 1, len(before) - (before.rfind(b"\n") + 1) + 1
    return HTTPException(400, f"the body is not UTF-8: line {line}, byte {column}")


def _too_large() -> HTTPException:
    return HTTPException(413, f"the body is larger than {LIMIT // 1024} KiB; put large data where the job can read it")
