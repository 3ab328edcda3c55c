"""AWS's own model of CreateTrainingJob, which botocore carries, with the parts of it that botocore does not enforce.

botocore checks names, types and what is required. The service checks `pattern`, `min`, `max` and `enum` too, and only
once a request has arrived.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import botocore.session
from botocore.model import Shape
from botocore.validate import ParamValidator


@cache
def _request() -> Shape:
    model = botocore.session.Session().get_service_model("sagemaker")
    return model.operation_model("CreateTrainingJob").input_shape


def refusals(request: Any, shape: Shape | None = None) -> list[str]:
    """What AWS would refuse of a CreateTrainingJob, or of the request of another operation: `shape`."""
    shape = _request() if shape is None else shape
    report = ParamValidator().validate(request, shape)
    return [*([report.generate_report()] if report.has_errors() else []), *_broken(request, shape, "")]


def _broken(value: Any, shape: Shape, path: str) -> Iterator[str]:
    rules = shape.metadata
    if isinstance(value, str):
        yield from _of_text(value, rules, path)
    size = len(value) if isinstance(value, str | list | dict) else value
    if shape.type_name != "structure" and not rules.get("min", size) <= size <= rules.get("max", size):
        kind = "have length" if isinstance(value, str | list | dict) else "have value"
        yield _failed(value, path, f"{kind} between {rules.get('min')} and {rules.get('max')}, both included")
    if shape.type_name == "structure":
        for name, inner in value.items():
            if name in shape.members:
                yield from _broken(inner, shape.members[name], f"{path}.{name}")
    elif shape.type_name == "list":
        for index, inner in enumerate(value):
            yield from _broken(inner, shape.member, f"{path}[{index}]")
    elif shape.type_name == "map":
        for name, inner in value.items():
            yield from _broken(name, shape.key, f"{path} key {name!r}")
            yield from _broken(inner, shape.value, f"{path}.{name}")


def _of_text(value: str, rules: dict[str, Any], path: str) -> Iterator[str]:
    if "enum" in rules and value not in rules["enum"]:
        yield _failed(value, path, f"satisfy enum value set: [{', '.join(rules['enum'])}]")
    if "pattern" in rules and not _pattern(rules["pattern"]).fullmatch(value):
        yield _failed(value, path, f"satisfy regular expression pattern: {rules['pattern']}")


def _failed(value: Any, path: str, rule: str) -> str:
    """In the service's own words."""
    return f"Value '{value}' at '{path.lstrip('.')}' failed to satisfy constraint: Member must {rule}"


@cache
def _pattern(theirs: str) -> re.Pattern[str]:
    """Java's expression as Python's: the classes of Unicode by other words (`\\w` is letters, numbers and `_`), and the
    dot, which takes none of Java's line ends."""
    ours = theirs.replace(r"\p{L}", r"\w").replace(r"\p{N}", r"\d").replace(r"\p{Z}", r"\s")
    ours = ours.replace(".*", "[^\n\r\x85\u2028\u2029]*")
    return re.compile(ours.replace(r"\p{Alnum}", "A-Za-z0-9"))
