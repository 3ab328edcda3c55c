"""The resource args of local-process: what is understood, what is refused, and how it is said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.adapters.local.process_args import ProcessArgs
from slipway.errors import Invalid

json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
names = st.text(st.characters(exclude_characters="=\0", exclude_categories=["Cs"]), min_size=1, max_size=8)
values = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)


def test_nothing_is_needed() -> None:
    assert ProcessArgs.parse({}) == ProcessArgs({}, ".")


@given(env=st.dictionaries(names, values | st.none()))
def test_an_object_and_a_list_say_the_same(env: dict[str, str | None]) -> None:
    listed = [name if value is None else f"{name}={value}" for name, value in env.items()]
    assert ProcessArgs.parse({"env": env}) == ProcessArgs.parse({"env": listed}) == ProcessArgs(env, ".")


@given(env=st.dictionaries(names, values | st.none()), machine=st.dictionaries(names, values))
def test_only_what_is_named_comes_from_the_machine(env: dict[str, str | None], machine: dict[str, str]) -> None:
    found = ProcessArgs(env, ".").environment(machine)
    for name, value in env.items():
        assert found.get(name) == (machine.get(name) if value is None else value)
    assert set(found) <= set(env)


@given(args=st.dictionaries(st.sampled_from(["env", "cwd", "other"]), json))
def test_anything_is_understood_or_refused(args: dict[str, object]) -> None:
    try:
        parsed = ProcessArgs.parse(args)
    except Invalid as refusal:
        parsed, fields = None, {problem.field for problem in refusal.problems}
        assert all(field.startswith("resource_args.") for field in fields)
    if parsed is not None:
        assert "other" not in args
        assert not parsed.cwd.startswith("/")
        assert all("\0" not in f"{name}{value}" for name, value in parsed.env.items())


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(Invalid) as caught:
        ProcessArgs.parse({"enviroment": {}, "env": {"A=B": "c", "D": [1]}, "cwd": "../up"})
    fields = {problem.field for problem in caught.value.problems}
    assert fields == {"resource_args.enviroment", "resource_args.env", "resource_args.env.D", "resource_args.cwd"}


def test_an_unknown_arg_is_told_the_nearest() -> None:
    with pytest.raises(Invalid, match="Did you mean 'cwd'"):
        ProcessArgs.parse({"cwdd": "."})


def test_a_value_that_may_be_secret_is_not_repeated() -> None:
    with pytest.raises(Invalid) as caught:
        ProcessArgs.parse({"env": {"TOKEN": "s3cr3t\0"}})
    assert "s3cr3t" not in str(caught.value)
