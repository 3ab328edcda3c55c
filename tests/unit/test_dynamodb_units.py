"""DynamoDB's request units as its pages have them: bench/ multiplies them by dollars."""

from __future__ import annotations

from typing import Any

import pytest
from bench.aws_units import Record, index_writes, read, size, write

KEY: Record = {"pk": {"S": "item#1"}, "sk": {"S": "item"}}
TABLE: Any = {
    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
    "GlobalSecondaryIndexes": [
        {
            "IndexName": "due",
            "KeySchema": [{"AttributeName": "due", "KeyType": "HASH"}, {"AttributeName": "place", "KeyType": "RANGE"}],
            "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["state"]},
        }
    ],
}


def of(size_in_bytes: int) -> Record:
    return {"a": {"S": "x" * (size_in_bytes - 1)}}


def due(place: str, state: str = "pending", **more: Any) -> Record:
    return {**KEY, "due": {"S": "due"}, "place": {"S": place}, "state": {"S": state}, **more}


class TestSizes:
    def test_a_record_is_its_names_and_its_values_in_utf_8(self) -> None:
        assert size({"naïve": {"S": "ü"}, "n": {"N": "1795685201"}, "set": {"SS": ["ab", "c"]}}) == 8 + 7 + 6


class TestReads:
    @pytest.mark.parametrize(("sizes", "units"), [([], 1), ([1], 1), ([4096], 1), ([4097], 2), ([2000, 2000], 1)])
    def test_they_come_in_steps_of_4_kb_of_all_that_is_found(self, sizes: list[int], units: int) -> None:
        assert read(map(of, sizes), consistent=True) == units

    def test_one_that_need_not_be_consistent_is_half(self) -> None:
        assert read([of(4097)], consistent=False) == 1
        assert read([], consistent=False) == 0.5


class TestWrites:
    @pytest.mark.parametrize(("before", "after", "units"), [(None, 1, 1), (1, 1024, 1), (1025, 1, 2), (3000, None, 3)])
    def test_they_come_in_steps_of_1_kb_of_the_larger(self, before: int | None, after: int | None, units: int) -> None:
        old, new = (None if each is None else of(each) for each in (before, after))
        assert write(old, new) == units
        assert write(old, new, transaction=True) == 2 * units

    @pytest.mark.parametrize(
        ("before", "after", "units"),
        [
            (None, due("1"), 1),
            (due("1"), due("1"), 0),
            (due("1"), due("1", body={"S": "is not in the index"}), 0),
            (due("1"), due("1", state="running"), 1),
            (due("1"), due("2"), 2),
            (due("1"), KEY, 1),
            (KEY, KEY, 0),
            (None, due("1" * 1500), 2),
        ],
    )
    def test_an_index_is_written_where_its_entry_changes_and_twice_where_that_moves(
        self, before: Record | None, after: Record | None, units: int
    ) -> None:
        assert index_writes(before, after, TABLE) == units
