"""SageMaker's Search, over the records of training jobs.

https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_SearchExpression.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.standins.aws.json_service import ServiceError

_MISSING = object()


def matches(record: Mapping[str, Any], expression: Mapping[str, Any]) -> bool:
    """Filters, nested filters and sub-expressions, joined by the expression's operator. None of them is all."""
    answers = [
        *(_filter(record, each) for each in expression.get("Filters", [])),
        *(_nested(record, each) for each in expression.get("NestedFilters", [])),
        *(matches(record, each) for each in expression.get("SubExpressions", [])),
    ]
    return any(answers) if expression.get("Operator") == "Or" and answers else all(answers)


def _nested(record: Mapping[str, Any], nested: Mapping[str, Any]) -> bool:
    """One element of the named list that all filters hold for; their names are relative to it, with its own before."""
    name = nested["NestedPropertyName"]
    elements = _value(record, name)
    if not isinstance(elements, list):
        return False
    inner = [{**each, "Name": each["Name"].removeprefix(f"{name}.")} for each in nested["Filters"]]
    return any(all(_filter(element, each) for each in inner) for element in elements)


def _filter(record: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    operator, found = wanted.get("Operator", "Equals"), _value(record, wanted["Name"])
    if operator in ("Exists", "NotExists"):
        return (found is not _MISSING) is (operator == "Exists")
    if "Value" not in wanted:
        raise ServiceError("ValidationException", f"The operator {operator} requires a value.")
    return found is not _MISSING and _compare(operator, found, wanted["Value"])


def _compare(operator: str, found: Any, value: str) -> bool:
    if isinstance(found, int | float):
        return _NUMBERS[operator](float(found), float(value))
    if operator not in _TEXTS:
        raise ServiceError("ValidationException", f"The operator {operator} is not supported for text properties.")
    return _TEXTS[operator](str(found), value)


def _value(record: Mapping[str, Any], name: str) -> Any:
    if name.startswith("Tags."):
        tags = {tag["Key"]: tag["Value"] for tag in record.get("Tags", [])}
        return tags.get(name.removeprefix("Tags."), _MISSING)
    found: Any = record
    for part in name.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return _MISSING
        found = found[part]
    return found


_NUMBERS: Mapping[str, Callable[[float, float], bool]] = {
    "Equals": lambda found, value: found == value,
    "NotEquals": lambda found, value: found != value,
    "GreaterThan": lambda found, value: found > value,
    "GreaterThanOrEqualTo": lambda found, value: found >= value,
    "LessThan": lambda found, value: found < value,
    "LessThanOrEqualTo": lambda found, value: found <= value,
}
_TEXTS: Mapping[str, Callable[[str, str], bool]] = {
    "Equals": lambda found, value: found == value,
    "NotEquals": lambda found, value: found != value,
    "Contains": lambda found, value: value in found,
    "In": lambda found, value: found in value.split(","),
}


def page(found: Sequence[Any], body: Mapping[str, Any], usual: int) -> tuple[list[Any], dict[str, str]]:
    """The page that is asked for, and what of the answer leads to the next."""
    first, size = int(body.get("NextToken") or 0), body.get("MaxResults", usual)
    more = {"NextToken": str(first + size)} if first + size < len(found) else {}
    return list(found[first : first + size]), more
