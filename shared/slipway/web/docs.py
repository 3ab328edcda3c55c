"""The page at /docs, made on the server from the OpenAPI document: no script, and nothing fetched from anywhere else.

FastAPI's own page loads its program from a public host, which a private network does not reach and a careful one does
not trust.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

Spec = dict[str, Any]

_CODE = re.compile(r"`([^`]+)`")
_AS_CODE = r"<code>\1</code>"
_REF = "#/components/schemas/"
_ERRORS = {
    "400": "The body is not JSON or YAML; the message names line and column.",
    "401": "No key was sent, or one that is not known.",
    "403": "The key does not act for this entity. On a server without keys: the call does not come from its machine.",
    "404": "There is no such thing, or none that this key may see.",
    "409": "Someone else changed it at the same time, or the name is taken.",
    "413": "The body is larger than 1 MiB.",
    "422": "What was sent breaks rules; `problems` has each of them: field, value, rule and the way out.",
    "500": "An error inside Slipway; the message has a reference to its log.",
    "503": "Not now: try again after `Retry-After` seconds.",
}


def page(spec: Spec) -> str:
    """The OpenAPI document as HTML: operations by tag, then the schemas they name."""
    here = files("slipway.web")
    by_tag: dict[str, list[tuple[str, str, Spec]]] = {tag["name"]: [] for tag in spec.get("tags", [])}
    for path, verb, operation in _operations(spec):
        by_tag.setdefault(operation.get("tags", ["other"])[0], []).append((path, verb, operation))
    about = {tag["name"]: tag.get("description", "") for tag in spec.get("tags", [])}
    shapes: dict[str, Spec] = spec.get("components", {}).get("schemas", {})
    return Template((here / "docs.html").read_text("utf-8")).substitute(
        title=escape(spec["info"]["title"]),
        version=escape(spec["info"]["version"]),
        style=(here / "docs.css").read_text("utf-8"),
        description=_prose(spec["info"].get("description", "")),
        contents="\n".join(_contents(tag, found) for tag, found in by_tag.items() if found),
        operations="\n".join(
            f'<section>\n<h2 id="{escape(tag)}">{escape(tag)}</h2>\n{_prose(about.get(tag, ""))}'
            + "\n".join(_operation(path, verb, each, shapes) for path, verb, each in found)
            + "\n</section>"
            for tag, found in by_tag.items()
            if found
        ),
        errors=_table((f"<code>{status}</code>", _prose(words)) for status, words in _ERRORS.items()),
        schemas="\n".join(_shape(name, shapes[name]) for name in sorted(shapes)),
    )


def _operations(spec: Spec) -> Iterator[tuple[str, str, Spec]]:
    for path, verbs in spec["paths"].items():
        for verb, operation in verbs.items():
            yield path, verb, operation


def _contents(tag: str, found: Iterable[tuple[str, str, Spec]]) -> str:
    links = "".join(
        f'<li><a href="#{escape(each["operationId"])}">{escape(each["summary"])}</a></li>' for _, _, each in found
    )
    return f'<h2><a href="#{escape(tag)}">{escape(tag)}</a></h2>\n<ul>{links}</ul>'


def _operation(path: str, verb: str, operation: Spec, shapes: dict[str, Spec]) -> str:
    parts = [
        f'<article id="{escape(operation["operationId"])}">',
        f"<h3>{escape(operation['summary'])}</h3>",
        f'<p class="call"><span class="verb {verb}">{verb.upper()}</span>{escape(path)}</p>',
        _prose(operation.get("description", "")),
    ]
    if parameters := operation.get("parameters"):
        parts += ["<h4>Parameters</h4>", _table(map(_parameter, parameters))]
    body = operation.get("requestBody", {}).get("content", {})
    if body:
        kinds = ", ".join(body)
        shape = _kind(next(iter(body.values()))["schema"])
        parts += ["<h4>Body</h4>", f'<p>{shape} <span class="soft">{escape(kinds)}</span></p>']
    parts += ["<h4>Answers</h4>", _table(_answers(operation["responses"]))]
    parts += ["<h4>Example</h4>", f"<pre>{escape(_curl(path, verb, operation, shapes))}</pre>", "</article>"]
    return "\n".join(parts)


def _parameter(parameter: Spec) -> tuple[str, str]:
    schema = parameter.get("schema", {})
    need = "required" if parameter.get("required") else _default(schema)
    kind = _kind(schema).removesuffix(" or null")
    note = f'<span class="soft">{parameter["in"]}, {kind}{need and f", {need}"}</span>'
    return f"<code>{escape(parameter['name'])}</code>", f"{_prose(parameter.get('description', ''))}{note}"


def _answers(answers: dict[str, Spec]) -> Iterator[tuple[str, str]]:
    """One line for each good answer, one for all errors: they are the same everywhere, and told once."""
    errors = sorted(status for status in answers if status in _ERRORS and _is_error(answers[status]))
    for status in sorted(set(answers) - set(errors)):
        yield _answer(status, answers[status])
    if errors:
        yield " ".join(f"<code>{status}</code>" for status in errors), '<a href="#errors">Errors</a>'


def _is_error(answer: Spec) -> bool:
    schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
    return bool(schema.get("$ref") == f"{_REF}ErrorView")


def _answer(status: str, answer: Spec) -> tuple[str, str]:
    kinds = [_kind(content["schema"]) for content in answer.get("content", {}).values() if content.get("schema")]
    plain = [escape(kind) for kind, content in answer.get("content", {}).items() if not content.get("schema")]
    shape = ", ".join(dict.fromkeys([*kinds, *plain]))
    about = answer.get("description", "")
    return f"<code>{status}</code> {shape}", "" if about == "Successful Response" else _prose(about)


def _shape(name: str, shape: Spec) -> str:
    required = shape.get("required", [])
    rows = [
        (
            f"<code>{escape(field)}</code>",
            f"{_prose(each.get('description', ''))}"
            f'<span class="soft">{_kind(each)}{", required" if field in required else ""}</span>',
        )
        for field, each in shape.get("properties", {}).items()
    ]
    words = f"<p>One of {', '.join(f'<code>{escape(str(each))}</code>' for each in shape.get('enum', []))}.</p>"
    about = _prose(shape.get("description", ""))
    content = _table(rows) if rows else words
    return f'<article id="schema-{escape(name)}">\n<h3>{escape(name)}</h3>\n{about}\n{content}\n</article>'


def _kind(schema: Spec) -> str:
    """The type in words, with links to the schemas it names."""
    if "$ref" in schema:
        name = escape(schema["$ref"].removeprefix(_REF))
        return f'<a href="#schema-{name}">{name}</a>'
    for word in ("anyOf", "allOf", "oneOf"):
        if word in schema:
            return " or ".join(_kind(each) for each in schema[word])
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return " or ".join(f"<code>{escape(json.dumps(value))}</code>" for value in values)
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"mapping to {_kind(schema['additionalProperties'])}"
    return {"object": "mapping", "string": "text", "number": "number", "null": "null"}.get(
        schema.get("type", ""), escape(str(schema.get("type", "any JSON")))
    )


def _default(schema: Spec) -> str:
    default = schema.get("default")
    return "" if default in (None, "") else f"<code>{escape(json.dumps(default))}</code> by default"


def _curl(path: str, verb: str, operation: Spec, shapes: dict[str, Spec]) -> str:
    """A call that can be pasted; `$SLIPWAY_ENDPOINT` and `$SLIPWAY_API_KEY` are what the command line reads too."""
    lines = ["curl" + ("" if verb == "get" else f" -X {verb.upper()}")]
    if operation.get("security"):
        lines.append('-H "Authorization: Bearer $SLIPWAY_API_KEY"')
    if body := operation.get("requestBody"):
        name = body["content"]["application/json"]["schema"]["$ref"].removeprefix(_REF)
        example = json.dumps(shapes[name].get("examples", [{}])[0], indent=2)
        lines += ["-H 'Content-Type: application/json'", f"-d '{example}'"]
    filled = path
    for name, value in _EXAMPLES.items():
        filled = filled.replace(f"{{{name}}}", value)
    query = "?follow=true" if path.endswith("/logs") else ""
    lines.append(f'"$SLIPWAY_ENDPOINT{filled}{query}"')
    if query:
        lines[0] += " -N"
    return " \\\n  ".join(lines)


_EXAMPLES = {"entity": "team-a", "name": "gpu", "item_id": "06b9x2k4m1q7t3zd", "key_id": "3f9a1c0b7d2e4a58"}


def _table(rows: Iterable[tuple[str, str]]) -> str:
    return "<table>" + "".join(f"<tr><td>{left}</td><td>{right}</td></tr>" for left, right in rows) + "</table>"


def _prose(text: str) -> str:
    paragraphs = [" ".join(each.split()) for each in text.split("\n\n") if each.strip()]
    return "".join(f"<p>{_CODE.sub(_AS_CODE, escape(each))}</p>\n" for each in paragraphs)
