"""A planted bug is in the running code while it is planted, and nowhere else."""

from __future__ import annotations

import pytest
from tests.simulation.planting import Edit, Gone, Mutant, mutated, planted


def double(number: int) -> int:
    return number * 2


def test_a_planted_bug_is_in_the_code_and_then_no_longer() -> None:
    imported = double
    with planted(Mutant("triple", (Edit(double, "* 2", "* three"),), {"three": 3})) as calls:
        assert imported(2) == 6
        assert calls() == 1
    assert imported(2) == 4
    assert calls() == 1
    assert "three" not in globals()


def test_a_planted_bug_is_taken_out_when_what_it_was_planted_for_fails() -> None:
    with pytest.raises(ZeroDivisionError), planted(Mutant("fail", (Edit(double, "* 2", "// 0"),))):
        double(2)
    assert double(2) == 4


@pytest.mark.parametrize("old", ["* 3", "number"])
def test_a_text_that_is_not_there_exactly_once_is_no_place_for_a_bug(old: str) -> None:
    with pytest.raises(Gone, match="double"):
        mutated(Mutant("gone", (Edit(double, old, "x"),)))
