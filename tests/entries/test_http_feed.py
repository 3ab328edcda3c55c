"""Blocking iterators as async generators that can be left."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conditions import eventually

from slipway.errors import Temporary
from slipway.web.feed import BUFFER, MAX_READERS, feed


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "slipway-log-reader"]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 3 * BUFFER))
def test_every_line_arrives_once_and_in_order(size: int) -> None:
    async def read() -> list[str]:
        return [line async for batch in feed(lambda: map(str, range(size)), 10.0) for line in batch]

    assert asyncio.run(read()) == [str(number) for number in range(size)]


def test_a_reader_that_leaves_ends_the_thread_at_the_next_line() -> None:
    async def leave() -> None:
        batches = feed(lambda: map(str, count()), 10.0)
        assert await anext(batches)
        await batches.aclose()
        await asyncio.to_thread(eventually, lambda: not readers())

    asyncio.run(leave())


def test_a_slow_client_does_not_make_the_log_pile_up() -> None:
    read: list[int] = []

    def lines() -> Iterator[str]:
        for number in count():
            read.append(number)
            yield str(number)

    async def dawdle() -> None:
        batches = feed(lines, 10.0)
        await anext(batches)
        await asyncio.to_thread(eventually, lambda: len(read) > BUFFER)
        await batches.aclose()
        await asyncio.to_thread(eventually, lambda: not readers())

    asyncio.run(dawdle())
    assert len(read) <= 2 * BUFFER + 2


def test_silence_is_an_empty_batch() -> None:
    go_on = threading.Event()

    def lines() -> Iterator[str]:
        go_on.wait(20)
        yield "at last"

    async def read() -> list[list[str]]:
        found = []
        async for batch in feed(lines, 0.01):
            found.append(batch)
            go_on.set()
        return found

    batches = asyncio.run(read())
    assert batches[0] == []
    assert [line for batch in batches for line in batch] == ["at last"]


def test_there_are_only_so_many_readers_and_each_makes_room_when_it_ends() -> None:
    go_on = threading.Event()

    def lines() -> Iterator[str]:
        yield "first"
        go_on.wait(30)

    async def crowd() -> None:
        feeds = [feed(lines, 10.0) for _ in range(MAX_READERS)]
        for each in feeds:
            assert await anext(each) == ["first"]
        with pytest.raises(Temporary, match="already"):
            await anext(feed(lines, 10.0))
        go_on.set()
        for each in feeds:
            await each.aclose()
        await asyncio.to_thread(eventually, lambda: not readers())
        assert await anext(feed(lines, 10.0)) == ["first"]

    asyncio.run(crowd())


def test_what_the_iterator_raises_arrives_after_its_lines() -> None:
    def lines() -> Iterator[str]:
        yield "eins"
        raise Temporary("gone")

    found: list[str] = []

    async def read() -> None:
        async for batch in feed(lines, 10.0):
            found.extend(batch)

    with pytest.raises(Temporary, match="gone"):
        asyncio.run(read())
    assert found == ["eins"]
