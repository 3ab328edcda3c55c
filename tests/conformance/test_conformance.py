"""W&B Launch's observable behaviour holds here, but where deviations.yaml says otherwise (S1-S20)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.areas import AREAS
from tests.conformance.compare import Difference, differences, same_subject
from tests.conformance.run import CASES, Rule, deviations, main, outcome

ROOT = Path(__file__).parents[2]
FILES = (CASES, CASES.with_name("wandb_runners.json"))
RULES = deviations()


def cases(file: Path) -> list[dict[str, Any]]:
    return list(json.loads(file.read_text())["cases"])


EVERY = [pytest.param(case, id=case["id"]) for file in FILES for case in cases(file)]


@pytest.mark.parametrize("case", EVERY)
def test_a_case_holds_or_deviates_as_we_say(case: Mapping[str, Any]) -> None:
    result = outcome(case, RULES)
    assert result.verdict != "fail", "\n".join(map(str, result.differences))


def test_most_cases_need_no_deviation() -> None:
    verdicts = [outcome(case, RULES).verdict for case in cases(CASES)]
    assert verdicts.count("pass") >= 88


def test_every_area_has_cases() -> None:
    assert {case["area"] for case in cases(CASES)} == set(AREAS)


def test_a_line_per_case_and_the_counts_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(CASES)]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert len(lines) == len(cases(CASES))
    assert re.fullmatch(r"\d+ passed, 0 failed, \d+ deviations", last)


def test_a_fact_that_is_not_so_fails_with_its_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (case,) = [case for case in cases(CASES) if case["id"] == "k8s-005"]
    wrong = {**case, "expect": {**case["expect"], "create_namespace": "elsewhere"}}
    file = tmp_path / "wrong.json"
    file.write_text(json.dumps({"format": "wandb-launch-conformance/1", "cases": [wrong]}))
    assert main([str(file)]) == 1
    told = capsys.readouterr().out
    assert 'create_namespace: expected "elsewhere", ours "ml"' in told
    assert told.endswith("0 passed, 1 failed, 0 deviations\n")


def test_a_deviation_covers_its_own_value_and_no_other() -> None:
    (rule,) = [rule for rule in RULES if rule.rule == "a-newer-kaniko"]
    image = Difference("job.spec.image", "executor:v1.11.0", "ghcr.io/osscontainertools/kaniko:v1.28.3")
    assert rule.covers("kaniko", image)
    assert not rule.covers("kaniko", replace(image, ours="ghcr.io/osscontainertools/kaniko:latest"))
    assert not rule.covers("kubernetes", image)


@pytest.mark.parametrize("rule", sorted({rule.rule for rule in RULES}))
def test_every_deviation_is_told_in_the_documentation(rule: str) -> None:
    page = (ROOT / "docs" / "differences-from-wandb.md").read_text()
    assert f"`{rule}`" in page


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.rule}-{RULES.index(rule)}")
def test_every_rule_names_areas_that_there_are_and_says_why(rule: Rule) -> None:
    assert set(rule.areas) <= set(AREAS)
    assert len(rule.reason.split()) >= 5


def test_what_is_missing_what_is_too_much_and_what_differs_is_told() -> None:
    expected = {"a": 1, "b": [{"name": "x", "value": 1}], "n": None, "l": [1, 2, 3]}
    ours = {"a": 1.0, "b": [{"name": "x", "value": 2}, {"name": "y"}], "c": 3, "slipway.item": "i", "l": [1, 3]}
    found = {difference.path for difference in differences(expected, ours)}
    assert found == {"a", "b[x].value", "b[y]", "c", "l[1:2]"}


def test_error_messages_are_about_the_same_thing_when_they_share_a_name() -> None:
    theirs = "Unsafe resource_args.kubernetes option 'hostPath' is not allowed: hostPath volumes are not permitted"
    assert same_subject(theirs, "resource_args.spec.volumes[0].hostPath: a submitter may not set hostPath")
    assert not same_subject(theirs, "resource_args.spec.hostNetwork: a submitter may not set hostNetwork")
