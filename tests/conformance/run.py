"""`make conformance CASES=file`: W&B Launch's observable behaviour, case by case, held against Slipway's.

A case passes when our facts are those that it expects. It is a deviation when each difference is one that
`deviations.yaml` names, with what we have instead and why; anything else fails, with the differences.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from tests.conformance import areas
from tests.conformance.compare import Difference, differences, same_subject

from slipway.errors import SlipwayError

FORMAT = "wandb-launch-conformance/1"
DEVIATIONS = Path(__file__).with_name("deviations.yaml")
CASES = Path(__file__).with_name("wandb_launch.json")


@dataclass(frozen=True)
class Rule:
    """A deliberate difference. `path`, `expected` and `ours` are patterns for the whole path, and for the two values as
    JSON."""

    rule: str
    reason: str
    areas: tuple[str, ...]
    path: str
    ours: str
    expected: str = ".*"

    def covers(self, area: str, difference: Difference) -> bool:
        patterns = ((self.expected, difference.expected), (self.ours, difference.ours))
        return (
            area in self.areas
            and re.fullmatch(self.path, difference.path) is not None
            and all(
                re.fullmatch(pattern, json.dumps(value, ensure_ascii=False), re.DOTALL) for pattern, value in patterns
            )
        )


@dataclass(frozen=True)
class Outcome:
    """`verdict` is pass, deviation or fail."""

    case: str
    verdict: str
    rules: tuple[Rule, ...] = ()
    differences: tuple[Difference, ...] = ()


def deviations() -> list[Rule]:
    return [Rule(**{**each, "areas": tuple(each["areas"])}) for each in yaml.safe_load(DEVIATIONS.read_text())]


def outcome(case: Mapping[str, Any], rules: Sequence[Rule]) -> Outcome:
    area, expected = case["area"], _without_prose(case["expect"])
    try:
        ours = areas.facts(area, case["input"], expected)
    except SlipwayError as error:
        ours = {"error": error.message}
    found = list(_differences(expected, case["expect"].get("message"), ours))
    needed = [(next((rule for rule in rules if rule.covers(area, each)), None), each) for each in found]
    missed = tuple(difference for rule, difference in needed if rule is None)
    used = tuple(dict.fromkeys(rule for rule, _ in needed if rule is not None))
    return Outcome(case["id"], "fail" if missed else "deviation" if used else "pass", used, missed)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="conformance", description=__doc__)
    parser.add_argument("cases", nargs="?", type=Path, default=CASES)
    options = parser.parse_args(arguments)
    document = json.loads(options.cases.read_text())
    if document.get("format") != FORMAT:
        print(f"{options.cases}: format is {document.get('format')!r}, and this reads {FORMAT}", file=sys.stderr)
        return 2
    rules, counts = deviations(), Counter[str]()
    for case in document["cases"]:
        result = outcome(case, rules)
        counts[result.verdict] += 1
        why = "; ".join(f"{rule.rule}: {' '.join(rule.reason.split())}" for rule in result.rules)
        print(f"{result.case:14} {result.verdict:10} {why}".rstrip())
        for difference in result.differences:
            print(f"    {difference}")
    print(f"{counts['pass']} passed, {counts['fail']} failed, {counts['deviation']} deviations")
    return 1 if counts["fail"] else 0


def _without_prose(expect: Mapping[str, Any]) -> dict[str, Any]:
    """How W&B words an error is no fact; that it is one, and what of, is."""
    return {key: value for key, value in expect.items() if key != "message"}


def _differences(expected: Mapping[str, Any], message: str | None, ours: Mapping[str, Any]) -> Sequence[Difference]:
    if expected.get("error") and ours.get("error"):
        said = message or str(expected["error"])
        return [] if same_subject(said, str(ours["error"])) else [Difference("error", said, ours["error"])]
    if expected.get("valid") is False and ours.get("valid") is False and message:
        told = str(ours.get("message"))
        return [] if same_subject(message, told) else [Difference("message", message, told)]
    rest = {key: value for key, value in ours.items() if key != "message"}
    return list(differences(dict(expected), rest))


if __name__ == "__main__":
    sys.exit(main())
