"""Bearer keys."""

from __future__ import annotations

import os
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.errors import Invalid
from slipway.keys import EVERY_ENTITY, PREFIX, digest, matches, may, new_key


def test_a_key_is_recognised_and_not_kept() -> None:
    text, key = new_key("team", "ci", os.urandom, 12.0)
    assert text.startswith(PREFIX)
    assert matches(text, key)
    assert text not in str(asdict(key))
    assert text.removeprefix(PREFIX) not in str(asdict(key))


def test_two_keys_are_never_the_same() -> None:
    assert len({new_key("team", "ci", os.urandom, 0.0)[0] for _ in range(100)}) == 100


@given(st.binary(min_size=32, max_size=32), st.text())
def test_only_the_very_text_matches(entropy: bytes, other: str) -> None:
    text, key = new_key("team", "ci", lambda _: entropy, 0.0)
    assert matches(other, key) is (other == text)


def test_a_key_holds_256_bits_of_entropy() -> None:
    asked: list[int] = []
    text, _ = new_key("team", "ci", lambda size: asked.append(size) or bytes(size), 0.0)
    assert asked == [32]
    assert len(text) == len(PREFIX) + 43


@given(st.text())
def test_any_text_has_a_digest(text: str) -> None:
    assert len(digest(text)) == 64


@given(st.text(min_size=1), st.text(min_size=1))
def test_a_key_acts_for_its_entity_alone_and_a_star_for_all(entity: str, other: str) -> None:
    key = new_key("team", "ci", os.urandom, 0.0)[1]
    assert may(key, entity) is (entity == "team")
    assert may(new_key(EVERY_ENTITY, "ci", os.urandom, 0.0)[1], other)


@pytest.mark.parametrize(
    ("entity", "name", "field"),
    [("", "ci", "entity"), ("team", "", "name"), ("a\nb", "ci", "entity"), (" a", "x", "entity")],
)
def test_a_key_needs_an_entity_and_a_name(entity: str, name: str, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        new_key(entity, name, os.urandom, 0.0)
    assert [problem.field for problem in caught.value.problems] == [field]
