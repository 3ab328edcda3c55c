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


def refusals(request: Any) -> list[str]:
    """What AWS would refuse of a CreateTrainingJob."""
    report = ParamValidator().validate(request, _request())
    return [*([report.generate_report()] if report.has_errors() else []), *_broken(request, _request(), "")]


def _broken(value: Any, shape: Shape, path: str) -> Iterator[str]:
    rules = shape.metadata
    if isinstance(value, str):
        yield from _of_text(value, rules, path)
    size = len(value) if isinstance(value, str | list | dict) else value
    if shape.type_name != "structure" and not rules.get("min", size) <= size <= rules.get("max", size):
        yield f"{path}: {size} is not within {rules.get('min')} and {rules.get('max')}"
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
        yield f"{path}: {value!r} is none of the values of the model"
    if "pattern" in rules and not _pattern(rules["pattern"]).fullmatch(value):
        yield f"{path}: {value!r} is not {rules['pattern']}"


@cache
def _pattern(theirs: str) -> re.Pattern[str]:
    """Java's expression as Python's: the classes of Unicode by other words (`\\w` is letters, numbers and `_`), and the
    dot, which takes none of Java's line ends."""
    ours = theirs.replace(r"\p{L}", r"\w").replace(r"\p{N}", r"\d").replace(r"\p{Z}", r"\s")
    ours = ours.replace(".*", "[^\n\r\x85\u2028\u2029]*")
    return re.compile(ours.replace(r"\p{Alnum}", "A-Za-z0-9"))
