"""From flags and files to a launch spec, and from values to words on a terminal: the pure parts of the command line."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from slipway.cli.launch_spec import Flags, assignments, launch_spec, mapping, parse, typed
from slipway.cli.options import repository_name
from slipway.cli.output import Format, dump, duration
from slipway.errors import Invalid
from slipway.model import GitSource, Queue, TemplateVariable
from slipway.spec import parse_submission

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.text(st.characters(exclude_categories=["C"]), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1, max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


def test_flags_become_the_launch_spec_that_they_name() -> None:
    flags = Flags(
        uri="https://git.example.com/team/train.git",
        git_version="main",
        queue="gpu",
        entry_point="python 'my train.py'",
        dockerfile="docker/Dockerfile",
        build_context="src",
        priority="high",
        entity="team",
        project="digits",
        name="初回",
        args=["--lr", "0.1"],
    )
    submission = parse_submission(launch_spec({}, None, flags))
    assert submission.job.source == GitSource("https://git.example.com/team/train.git", "main")
    assert submission.job.entry_point == ("python", "my train.py")
    assert (submission.job.dockerfile, submission.job.build_context) == ("docker/Dockerfile", "src")
    assert (submission.entity, submission.project, submission.name) == ("team", "digits", "初回")
    assert (submission.queue, submission.priority, submission.args) == ("gpu", 1, ("--lr", "0.1"))


def test_a_queue_of_another_entity_is_named_with_it() -> None:
    spec = launch_spec({}, None, Flags(queue="research/gpu"))
    assert (spec["queue_entity"], spec["queue"]) == ("research", "gpu")


def test_flags_go_over_the_config_one_by_one() -> None:
    config = {"queue": "cpu", "name": "old", "overrides": {"args": ["--old"], "run_config": {"lr": 1}}}
    spec = launch_spec(config, None, Flags(queue="gpu", args=["--new"]))
    assert spec == {"queue": "gpu", "name": "old", "overrides": {"args": ["--new"], "run_config": {"lr": 1}}}
    assert config["overrides"] == {"args": ["--old"], "run_config": {"lr": 1}}


@given(st.dictionaries(st.text(max_size=5), json_values, max_size=4))
def test_a_config_without_flags_stays_what_it_is(config: dict[str, object]) -> None:
    assert launch_spec(config, None, Flags()) == config


@given(
    st.dictionaries(
        st.text(min_size=1).filter(lambda name: "=" not in name and name == name.strip()), st.text(), max_size=4
    )
)
def test_assignments_hold_any_name_and_any_value(values: dict[str, str]) -> None:
    assert assignments([f"{name}={value}" for name, value in values.items()]) == values


def test_every_assignment_that_is_none_is_told() -> None:
    with pytest.raises(Invalid) as refusal:
        assignments(["lr=0.1", "epochs", "=3"])
    assert [problem.value for problem in refusal.value.problems] == ["epochs", "=3"]


def test_values_take_the_type_of_their_variable() -> None:
    variables = {name: TemplateVariable(name) for name in ("integer", "number", "boolean", "string")}
    queue = Queue("team", "gpu", "local-process", template_variables=variables)
    texts = {"integer": "3", "number": "0.5", "boolean": "true", "string": "7", "unknown": "7"}
    assert typed(texts, queue) == {"integer": 3, "number": 0.5, "boolean": True, "string": "7", "unknown": "7"}


@given(json_values)
def test_json_and_yaml_are_read_as_they_were_written(value: object) -> None:
    assert parse(json.dumps(value), "here") == value
    assert parse(yaml.safe_dump(value, allow_unicode=True), "here") == value


@given(st.text(max_size=60))
def test_any_text_is_a_value_or_invalid(text: str) -> None:
    with suppress(Invalid):
        parse(text, "queue.yaml")


def test_what_is_neither_json_nor_yaml_is_named_with_its_place() -> None:
    with pytest.raises(Invalid, match=r"queue.yaml: is neither JSON nor YAML: .* in line 2, column"):
        parse("name: gpu\n  resource: x: y\n", "queue.yaml")


@pytest.mark.parametrize(
    ("content", "rule"),
    [("[1, 2]", "must be a mapping"), ("a: 2026-01-01", "date"), ("a: .nan", "nan"), ("{}\0", "neither JSON nor YAML")],
)
def test_a_file_that_is_no_plain_mapping_is_refused(tmp_path: Path, content: str, rule: str) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text(content)
    with pytest.raises(Invalid, match=rule):
        mapping(str(file), "--config")


def test_a_missing_file_names_the_flag(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"--config: cannot be read: No such file"):
        mapping(str(tmp_path / "none.yaml"), "--config")


def test_a_flag_may_hold_the_json_itself() -> None:
    assert mapping(' {"queue": "gpu"}', "--config") == {"queue": "gpu"}


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("https://git.example.com/team/train.git", "train"),
        ("https://git.example.com/team/train/", "train"),
        ("git@git.example.com:train.git", "train"),
        ("/home/me/train/.git", "train"),
        ("file:///home/me/訓練", "訓練"),
        ("", None),
    ],
)
def test_a_repository_gives_the_project_its_name(uri: str, name: str | None) -> None:
    assert repository_name(uri) == name


@given(st.text())
def test_any_uri_has_a_name_without_slashes_or_none(uri: str) -> None:
    name = repository_name(uri)
    assert name is None or (name and "/" not in name)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, ""),
        (0, "0.0 s"),
        (9.87, "9.9 s"),
        (59, "59 s"),
        (60, "1 min"),
        (185, "3 min 5 s"),
        (7800, "2 h 10 min"),
        (90000, "1 d 1 h"),
    ],
)
def test_durations_read_as_people_say_them(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words


@given(st.floats(0, 1e9))
def test_a_duration_is_never_off_by_more_than_its_smaller_unit(seconds: float) -> None:
    units = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
    words = duration(seconds).split()
    told = sum(float(number) * units[unit] for number, unit in zip(words[::2], words[1::2], strict=True))
    smaller = next(size for limit, size in ((10, 0.05), (3600, 1), (86400, 60), (math.inf, 3600)) if seconds < limit)
    assert abs(told - seconds) <= smaller + 1e-6


@given(json_values)
def test_what_is_printed_for_programs_reads_back(value: object) -> None:
    assert json.loads(dump(value, Format.JSON)) == value
    assert yaml.safe_load(dump(value, Format.YAML)) == value
