"""What the tests of the words share: any JSON value, and the problems of a refused document."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import strategies as st

from slipway.errors import Invalid, Problem

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)
MAPPINGS = st.dictionaries(st.text(), JSON, max_size=4)


def any_document(fields: tuple[str, ...], likely: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    """Mostly a mapping of known fields to likely and unlikely values, sometimes anything."""
    words = st.sampled_from(fields) | st.text()
    values = st.recursive(
        st.sampled_from(likely) | SCALARS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=4),
        max_leaves=20,
    )
    return st.dictionaries(words, values, max_size=8) | JSON


def problems_of(call: Callable[[], Any]) -> dict[str, Problem]:
    """The problems that a call is refused with, by field."""
    with pytest.raises(Invalid) as refusal:
        call()
    return {problem.field: problem for problem in refusal.value.problems}


def attempt(call: Callable[[], Any]) -> tuple[Any, tuple[Problem, ...]]:
    """What a call gives, or the problems that it is refused with."""
    try:
        return call(), ()
    except Invalid as refusal:
        return None, refusal.problems
