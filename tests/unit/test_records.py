"""Records survive the way to text and back, and tolerate what another version wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway import records
from slipway.errors import Permanent
from slipway.model import (
    Act,
    ApiKey,
    Build,
    GitSource,
    Item,
    Job,
    Lease,
    Moment,
    Queue,
    State,
    Submission,
    TemplateVariable,
    Timeouts,
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
mappings = st.dictionaries(st.text(), json_values, max_size=3)
words = st.lists(st.text(), max_size=3).map(tuple)

# Fields are found by their annotations, so that a field which joins the model is generated here at once.
st.register_type_strategy(float, st.floats(allow_nan=False))
variables = st.builds(
    TemplateVariable, default=json_values, enum=st.none() | st.lists(json_values, max_size=3).map(tuple)
)
leases = st.none() | st.builds(Lease)
submissions = st.builds(
    Submission,
    job=st.builds(Job, entry_point=words),
    args=words,
    **dict.fromkeys(("resource_args", "template_variables", "run_config", "artifacts", "files"), mappings),
)
MAPPINGS = ("secrets", "resource_args", "builder", "metrics", "retries", "retried")
items = st.builds(
    Item,
    submission=submissions,
    timeouts=st.builds(Timeouts),
    warnings=words,
    lease=leases,
    timeline=st.lists(st.builds(Moment), max_size=3).map(tuple),
    **dict.fromkeys(MAPPINGS, mappings),
    **{
        field.name: ...
        for field in fields(Item)
        if field.name not in {"submission", "timeouts", "warnings", "lease", "timeline", *MAPPINGS}
    },
)
queues = st.builds(
    Queue,
    config=mappings,
    builder=mappings,
    template_variables=st.dictionaries(st.text(), variables, max_size=3),
    overridable_fields=words,
    timeouts=st.builds(Timeouts),
    retries=mappings,
    max_jobs=...,
    prioritization=...,
    paused=...,
    version=...,
)
builds = st.builds(Build, attempt=..., build_id=..., lease=leases, version=...)
keys = st.builds(ApiKey)

an_item = Item(
    id="01a",
    submission=Submission(Job(GitSource("https://example.com/a.git")), "gpu", "team", "digits"),
    resource="kubernetes",
    resource_args={},
    run_id="r1",
    created_at=1.0,
    lease=Lease(Act.START, 2.0),
    timeline=(Moment(1.0, State.PENDING, "submitted"),),
)
a_queue = Queue("team", "gpu", "kubernetes", template_variables={"n": TemplateVariable("integer")})
a_build = Build("registry/x:1", "docker")
a_key = ApiKey("0" * 64, "team", "laptop", 1.0)

every_kind = pytest.mark.parametrize(
    ("record", "to_json", "from_json"),
    [
        pytest.param(an_item, records.item_to_json, records.item_from_json, id="item"),
        pytest.param(a_queue, records.queue_to_json, records.queue_from_json, id="queue"),
        pytest.param(a_build, records.build_to_json, records.build_from_json, id="build"),
        pytest.param(a_key, records.key_to_json, records.key_from_json, id="key"),
    ],
)


@given(items)
def test_an_item_survives_the_way_to_text_and_back(item: Item) -> None:
    assert records.item_from_json(records.item_to_json(item)) == item


@given(queues)
def test_a_queue_survives_the_way_to_text_and_back(queue: Queue) -> None:
    assert records.queue_from_json(records.queue_to_json(queue)) == queue


@given(builds)
def test_a_build_survives_the_way_to_text_and_back(build: Build) -> None:
    assert records.build_from_json(records.build_to_json(build)) == build


@given(keys)
def test_a_key_survives_the_way_to_text_and_back(key: ApiKey) -> None:
    assert records.key_from_json(records.key_to_json(key)) == key


@given(items)
def test_what_is_read_has_the_types_of_the_model(item: Item) -> None:
    """Enums and tuples compare equal to plain words and are not: `is` and hashing would fail later, elsewhere."""
    read = records.item_from_json(records.item_to_json(item))
    for field in fields(Item):
        assert type(getattr(read, field.name)) is type(getattr(item, field.name)), field.name
    assert all(type(moment) is Moment and type(moment.state) is State for moment in read.timeline)


@every_kind
def test_every_field_of_the_model_is_written(record: Any, to_json: Any, from_json: Any) -> None:
    assert set(json.loads(to_json(record))) == {field.name for field in fields(record)}


def test_every_nested_field_is_written() -> None:
    written = json.loads(records.item_to_json(an_item))
    for kind, part in (
        (Submission, written["submission"]),
        (Job, written["submission"]["job"]),
        (Timeouts, written["timeouts"]),
        (Lease, written["lease"]),
        (TemplateVariable, json.loads(records.queue_to_json(a_queue))["template_variables"]["n"]),
    ):
        assert set(part) == {field.name for field in fields(kind)}


@every_kind
def test_a_field_of_a_newer_version_is_ignored(record: Any, to_json: Any, from_json: Any) -> None:
    text = json.dumps(json.loads(to_json(record)) | {"from_the_future": {"x": 1}})
    assert from_json(text) == record


@every_kind
def test_a_field_that_an_older_version_lacked_takes_its_default(record: Any, to_json: Any, from_json: Any) -> None:
    written: Mapping[str, Any] = json.loads(to_json(record))
    for field in fields(record):
        has_default = "MISSING" not in repr(field.default) or "MISSING" not in repr(field.default_factory)
        if has_default:
            default = type(record)(**{f.name: getattr(record, f.name) for f in fields(record) if f.name != field.name})
            without = {name: value for name, value in written.items() if name != field.name}
            assert from_json(json.dumps(without)) == default, field.name


def test_nested_fields_that_an_older_version_lacked_take_their_defaults() -> None:
    written = json.loads(records.item_to_json(an_item))
    needed = {"job", "queue", "entity", "project"}
    written["submission"] = {name: value for name, value in written["submission"].items() if name in needed}
    written["submission"]["job"] = {"source": {"kind": "git", "uri": "https://example.com/a.git"}}
    written["timeouts"] = {}
    assert records.item_from_json(json.dumps(written)) == an_item


@pytest.mark.parametrize("text", ["", "{", "null", "[]", '"x"', "{}", '{"id": "a"}'])
@every_kind
def test_a_damaged_record_is_refused_with_a_cure(record: Any, to_json: Any, from_json: Any, text: str) -> None:
    with pytest.raises(Permanent, match=r"cannot be read.*restore a backup"):
        from_json(text)


@pytest.mark.parametrize(
    ("old", "new"),
    [('"state":"pending"', '"state":"dreaming"'), ('"kind":"git"', '"kind":"fax"'), ('"act":"start"', '"act":"dance"')],
)
def test_a_word_of_a_newer_version_is_refused_not_guessed(old: str, new: str) -> None:
    text = records.item_to_json(an_item).replace(old, new)
    with pytest.raises(Permanent, match="newer Slipway"):
        records.item_from_json(text)


def test_unicode_is_kept_as_it_is_and_half_a_surrogate_pair_as_an_escape() -> None:
    readable = records.item_to_json(replace(an_item, reason="zu groß 🚢"))
    assert "zu groß 🚢" in readable
    lone = replace(an_item, reason="ß\ud83d")
    text = records.item_to_json(lone)
    assert text.encode().isascii()
    assert records.item_from_json(text) == lone


def test_a_record_nested_beyond_reason_is_refused() -> None:
    deep: Any = {}
    for _ in range(100_000):
        deep = {"a": deep}
    with pytest.raises(Permanent, match="nested too deeply"):
        records.item_to_json(replace(an_item, resource_args=deep))
    while deep:  # Taken apart level by level: freed at once, it would nest as deeply in the interpreter.
        deep = deep["a"]
