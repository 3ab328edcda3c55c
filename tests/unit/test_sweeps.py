"""The command of a sweep's run, from its parameters and W&B's macros."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.model import Json
from slipway.sweeps import arguments, command

PARAMETERS: dict[str, Json] = {"lr": 0.1, "deep": True, "fast": False, "name": "a b"}


@pytest.mark.parametrize(
    ("macro", "words"),
    [
        ("args", ["--lr=0.1", "--deep=True", "--fast=False", "--name=a b"]),
        ("args_no_equals", ["--lr", "0.1", "--deep", "True", "--fast", "False", "--name", "a b"]),
        ("args_no_hyphens", ["lr=0.1", "deep=True", "fast=False", "name=a b"]),
        ("args_no_boolean_flags", ["--lr=0.1", "--deep", "--name=a b"]),
        ("args_append_hydra", ["+lr=0.1", "+deep=True", "+fast=False", "+name=a b"]),
        ("args_override_hydra", ["++lr=0.1", "++deep=True", "++fast=False", "++name=a b"]),
    ],
)
def test_each_macro_writes_the_parameters_in_its_way(macro: str, words: list[str]) -> None:
    assert arguments(PARAMETERS)[macro] == words


def test_a_macro_takes_its_place_out_of_the_entry_point_and_gives_the_arguments() -> None:
    entry_point, args = command(["python", "train.py", "${args}"], {"lr": 0.1})
    assert (entry_point, args) == (("python", "train.py"), ("--lr=0.1",))


def test_a_command_without_a_macro_is_run_without_parameters() -> None:
    assert command(["python", "train.py"], PARAMETERS) == (("python", "train.py"), ())


def test_another_macro_stays_as_it_is() -> None:
    assert command(["${env}", "${program}", "${args_json}"], {"lr": 1}) == (("${env}", "${program}"), ('{"lr": 1}',))


parameters = st.dictionaries(
    st.from_regex(r"[a-z_]{1,6}", fullmatch=True), st.booleans() | st.integers() | st.text(max_size=4), max_size=4
)


@given(parameters)
def test_every_parameter_is_in_every_way_of_writing(parameters: dict[str, Json]) -> None:
    found = arguments(parameters)
    assert json.loads(found["args_json"][0]) == parameters
    for macro, sign in (("args", "--"), ("args_append_hydra", "+"), ("args_override_hydra", "++")):
        assert found[macro] == [f"{sign}{pair}" for pair in found["args_no_hyphens"]]
    assert len(found["args_no_equals"]) == 2 * len(parameters)
    assert len(found["args_no_boolean_flags"]) == sum(value is not False for value in parameters.values())


@given(parameters, st.lists(st.sampled_from(["python", "x.py", "${env}"]), max_size=3), st.integers(0, 3))
def test_no_macro_of_the_parameters_is_left_in_the_command(
    parameters: dict[str, Json], words: list[str], place: int
) -> None:
    for macro, values in arguments(parameters).items():
        given_words = [*words[:place], f"${{{macro}}}", *words[place:]]
        entry_point, args = command(given_words, parameters)
        assert (entry_point, args) == (tuple(words), tuple(values))
