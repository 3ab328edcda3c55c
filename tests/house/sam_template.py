"""sam/template.yaml as it is deployed with some parameters: conditions decided, what they leave out left out.

References stay as they are, `{"Ref": "Table"}`: nobody here knows an ARN.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "sam" / "template.yaml"
GONE: dict[str, Any] = {"Ref": "AWS::NoValue"}


class Statement(NamedTuple):
    """One right of a role: an action on resources, each as its ARN or as what gives it, and when it holds."""

    sid: str
    action: str
    resources: tuple[str, ...]
    condition: Mapping[str, Any]


class Deployed:
    """The template with `parameters`, else with its defaults."""

    def __init__(self, **parameters: str) -> None:
        self.source: dict[str, Any] = yaml.load(TEMPLATE.read_text(), _Loader)
        known = self.source["Parameters"]
        assert set(parameters) <= set(known)
        self.parameters = {name: str(parameters.get(name, each["Default"])) for name, each in known.items()}
        self.resources: dict[str, Any] = {
            name: self._decided(each)
            for name, each in self.source["Resources"].items()
            if self.holds(each.get("Condition"))
        }
        self.outputs = {
            name: self._decided(each)
            for name, each in self.source["Outputs"].items()
            if self.holds(each.get("Condition"))
        }
        self.globals = self._decided(self.source["Globals"]["Function"])

    def of_type(self, kind: str) -> dict[str, Any]:
        """Logical id → properties."""
        return {name: each.get("Properties", {}) for name, each in self.resources.items() if each["Type"] == kind}

    def functions(self) -> dict[str, Any]:
        """Logical id → properties, those of Globals included."""
        return {name: {**self.globals, **each} for name, each in self.of_type("AWS::Serverless::Function").items()}

    def rights(self, role: str) -> list[Statement]:
        """What a role is allowed, of its own and by its managed policies: a statement for each action."""
        properties = self.resources[role]["Properties"]
        documents = [policy["PolicyDocument"] for policy in properties.get("Policies", [])]
        managed = [self.resources[policy["Ref"]] for policy in properties.get("ManagedPolicyArns", [])]
        documents += [policy["Properties"]["PolicyDocument"] for policy in managed]
        return [right for document in documents for right in _rights(document)]

    def holds(self, condition: str | None) -> bool:
        return condition is None or self._true(self.source["Conditions"][condition])

    def _true(self, test: Any) -> bool:
        match test:
            case {"Fn::Equals": [left, right]}:
                return bool(self._value(left) == self._value(right))
            case {"Fn::Not": [inner]}:
                return not self._true(inner)
            case {"Fn::And": [*inner]}:
                return all(self._true(each) for each in inner)
            case {"Condition": name}:
                return self.holds(name)
        raise AssertionError(f"a condition of an unknown kind: {test}")

    def _value(self, given: Any) -> Any:
        match given:
            case {"Ref": name}:
                return self.parameters[name]
            case {"Fn::Join": [_, parts]}:
                return self._value(parts)
        return given

    def _decided(self, node: Any) -> Any:
        match node:
            case {"Fn::If": [condition, yes, no]}:
                return self._decided(yes if self.holds(condition) else no)
            case dict():
                decided = {name: self._decided(each) for name, each in node.items()}
                return {name: each for name, each in decided.items() if each != GONE} if node != GONE else node
            case list():
                return [each for each in map(self._decided, node) if each != GONE]
        return node


def words(value: Any) -> str:
    """A value of the template as one text: `Table.Arn` for what GetAtt or Ref give."""
    match value:
        case {"Ref": name} | {"Fn::GetAtt": name} | {"Fn::Sub": str(name)}:
            return str(name)
        case str():
            return value
    return json.dumps(value, sort_keys=True)


def _rights(document: Any) -> Iterator[Statement]:
    for statement in document["Statement"]:
        assert statement["Effect"] == "Allow"
        actions, resources = (_several(statement[field]) for field in ("Action", "Resource"))
        for action in actions:
            where = tuple(words(each) for each in resources)
            yield Statement(statement.get("Sid", ""), action, where, statement.get("Condition", {}))


def _several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


class _Loader(yaml.SafeLoader):
    """Knows CloudFormation's short forms."""


def _short_form(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    match node:
        case yaml.ScalarNode():
            value: Any = loader.construct_scalar(node)
        case yaml.SequenceNode():
            value = loader.construct_sequence(node, deep=True)
        case _:
            value = loader.construct_mapping(node, deep=True)  # type: ignore[arg-type]
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _short_form)  # type: ignore[no-untyped-call]
