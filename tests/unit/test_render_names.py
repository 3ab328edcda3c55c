"""Names that a queue's config gives, as Kubernetes takes them (S15)."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.documents import attempt

from slipway.errors import Invalid
from slipway.model import RunRef
from slipway.render.names import label_value, object_name

SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
attempts = st.integers(1, 1000)


def named(given: str, number: int = 1, most: int = 63) -> str:
    return object_name(given, RunRef("item", number), "metadata.name", most=most)


@given(st.from_regex(SUBDOMAIN, fullmatch=True).filter(lambda name: len(name) <= 63))
def test_a_name_that_kubernetes_takes_is_kept(name: str) -> None:
    assert named(name) == name


@given(st.text() | st.text("aB0-_."), attempts)
def test_any_name_becomes_one_that_kubernetes_takes_or_is_refused(text: str, number: int) -> None:
    name, _ = attempt(lambda: named(text, number))
    assert name is None or (SUBDOMAIN.fullmatch(name) and len(name) <= 63)


@given(st.text("ab-.", min_size=1, max_size=63).filter(lambda text: text.strip("-.")), attempts, attempts)
def test_every_attempt_has_a_name_of_its_own(text: str, one: int, other: int) -> None:
    assert (named(text, one) == named(text, other)) == (one == other)


def test_a_run_id_is_made_fit_for_a_name() -> None:
    assert named("My_run-job") == "my-run-job"
    assert named("run_-job", 2) == "run--job-2"


def test_what_is_too_long_is_refused_and_not_cut_to_the_name_of_another_run() -> None:
    with pytest.raises(Invalid, match="longer than 63"):
        named("a" * 64)
    assert named("a" * 64, most=253) == "a" * 64


@given(st.from_regex(r"[a-z0-9][a-z0-9_-]{0,63}", fullmatch=True))
def test_any_run_id_is_the_value_of_a_label(run_id: str) -> None:
    value = label_value(run_id)
    assert LABEL.fullmatch(value)
    assert len(value) <= 63
    assert run_id.startswith(value)
