"""What every Bus keeps to. An adapter binds `make_bus`: a new, empty bus on the clock given.

A vendor's queue tells time by a clock of its own. Its binding brings a `clock` that moves that one too.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.adapters.memory.clock import MemoryClock
from slipway.errors import NotFound
from slipway.model import Message, Topic
from slipway.ports import Bus, Clock

Answer = TypeVar("Answer")

VISIBILITY = 60.0
MAX_RECEIVES = 5
WOKEN = 20.0
"""Seconds within which whoever is woken has answered; who is not woken waits far longer."""
FAR_LONGER = 90.0


class MakeBus(Protocol):
    def __call__(self, clock: Clock, visibility: float = VISIBILITY, max_receives: int = MAX_RECEIVES) -> Bus: ...


class BusContract:
    shortest_delay = 0.05
    """Seconds: the unit in which this bus delays."""
    examples = 40
    """Draws of the property; fewer where the vendor's stand-in is slow."""

    @pytest.fixture
    def make_bus(self) -> MakeBus:
        raise AssertionError("a binding says how its bus is made")

    @pytest.fixture
    def clock(self) -> MemoryClock:
        return MemoryClock()

    @pytest.fixture
    def bus(self, make_bus: MakeBus, clock: MemoryClock) -> Bus:
        return make_bus(clock)

    # --- send and receive
    def test_a_message_is_received_on_its_topic_as_it_was_sent(self, bus: Bus) -> None:
        body = 'größe 🚢 {"x": [1]}\n' * 1000
        bus.send(Topic.SUBMIT, body)
        assert list(bus.receive([Topic.ADVANCE, Topic.BUILD])) == []
        (message,) = bus.receive([Topic.SUBMIT])
        assert (message.topic, message.body, message.received) == (Topic.SUBMIT, body, 1)
        assert type(message.topic) is Topic

    def test_several_topics_are_received_together(self, bus: Bus) -> None:
        for topic in Topic:
            bus.send(topic, f"on {topic}")
        received = bus.receive(list(Topic), limit=10)
        assert sorted((message.topic, message.body) for message in received) == sorted(
            (topic, f"on {topic}") for topic in Topic
        )

    def test_a_batch_is_no_larger_than_its_limit(self, bus: Bus) -> None:
        for n in range(5):
            bus.send(Topic.ADVANCE, str(n))
        first = bus.receive([Topic.ADVANCE, Topic.BUILD], limit=3)
        second = bus.receive([Topic.ADVANCE, Topic.BUILD], limit=3)
        assert (len(first), len(second)) == (3, 2)
        assert sorted(message.body for message in (*first, *second)) == list("01234")

    def test_equal_bodies_are_two_messages(self, bus: Bus) -> None:
        bus.send(Topic.ADVANCE, "a")
        bus.send(Topic.ADVANCE, "a")
        assert len(bus.receive([Topic.ADVANCE], limit=10)) == 2

    def test_a_topic_gets_its_turn_although_another_always_has_more(self, bus: Bus, clock: MemoryClock) -> None:
        bus.send(Topic.BUILD, "quiet")
        clock.advance(1.0)
        received = []
        for n in range(10):
            bus.send(Topic.ADVANCE, f"flood {n}")
            received += [message.body for message in bus.receive([Topic.ADVANCE, Topic.BUILD])]
        assert "quiet" in received

    def test_a_delayed_message_is_not_seen_before_its_time(self, bus: Bus, clock: MemoryClock) -> None:
        bus.send(Topic.ADVANCE, "a", delay=10.0)
        clock.advance(9.5)
        assert list(bus.receive([Topic.ADVANCE])) == []
        clock.advance(0.5)
        assert [message.body for message in bus.receive([Topic.ADVANCE])] == ["a"]

    # --- visibility, ack
    def test_a_delivery_is_hidden_until_its_visibility_is_over_and_then_delivered_again(
        self, bus: Bus, clock: MemoryClock
    ) -> None:
        bus.send(Topic.ADVANCE, "a")
        (first,) = bus.receive([Topic.ADVANCE])
        clock.advance(VISIBILITY - 0.5)
        assert list(bus.receive([Topic.ADVANCE])) == []
        clock.advance(0.5)
        (second,) = bus.receive([Topic.ADVANCE])
        assert (second.body, second.received) == ("a", 2)
        assert second.receipt != first.receipt

    def test_an_acknowledged_message_never_comes_back(self, bus: Bus, clock: MemoryClock) -> None:
        for n in range(3):
            bus.send(Topic.ADVANCE, str(n))
        batch = bus.receive([Topic.ADVANCE], limit=2)
        bus.ack(batch)
        bus.ack(batch)
        bus.ack([])
        left = ({"0", "1", "2"} - {message.body for message in batch}).pop()
        (last,) = bus.receive([Topic.ADVANCE], limit=10)
        assert last.body == left
        bus.ack([last])
        clock.advance(10 * VISIBILITY)
        assert list(bus.receive([Topic.ADVANCE], limit=10)) == []
        assert list(bus.dead_letters()) == []

    def test_an_outdated_receipt_does_nothing(self, bus: Bus, clock: MemoryClock) -> None:
        bus.send(Topic.ADVANCE, "a")
        (old,) = bus.receive([Topic.ADVANCE])
        clock.advance(VISIBILITY)
        (new,) = bus.receive([Topic.ADVANCE])
        bus.ack([old])
        bus.retry(old, "too late")
        bus.bury(old, "too late")
        assert list(bus.dead_letters()) == []
        assert list(bus.receive([Topic.ADVANCE])) == []
        clock.advance(VISIBILITY)
        (third,) = bus.receive([Topic.ADVANCE])
        assert third.received == new.received + 1
        bus.ack([third])
        clock.advance(10 * VISIBILITY)
        assert list(bus.receive([Topic.ADVANCE])) == []

    def test_the_receipt_of_a_message_that_is_gone_touches_no_later_one(self, bus: Bus, clock: MemoryClock) -> None:
        bus.send(Topic.ADVANCE, "a")
        gone = bus.receive([Topic.ADVANCE])
        bus.ack(gone)
        bus.send(Topic.ADVANCE, "b")
        bus.receive([Topic.ADVANCE])
        bus.ack(gone)
        clock.advance(VISIBILITY)
        assert [message.body for message in bus.receive([Topic.ADVANCE])] == ["b"]

    def test_a_message_keeps_its_name_over_all_deliveries_and_no_other_ever_has_it(
        self, bus: Bus, clock: MemoryClock
    ) -> None:
        """What makes a submission delivered twice one item."""
        bus.send(Topic.SUBMIT, "same words")
        (first,) = bus.receive([Topic.SUBMIT])
        bus.retry(first, "once more")
        (again,) = bus.receive([Topic.SUBMIT])
        assert first.id
        assert again.id == first.id
        bus.ack([again])
        bus.send(Topic.SUBMIT, "same words")
        (other,) = bus.receive([Topic.SUBMIT])
        assert other.id not in ("", first.id)

    # --- retry
    def test_a_retried_message_comes_again_at_once_or_after_its_delay(self, bus: Bus, clock: MemoryClock) -> None:
        bus.send(Topic.ADVANCE, "a")
        (message,) = bus.receive([Topic.ADVANCE])
        bus.retry(message, "throttled")
        (message,) = bus.receive([Topic.ADVANCE])
        assert message.received == 2
        bus.retry(message, "throttled", delay=5.0)
        clock.advance(4.5)
        assert list(bus.receive([Topic.ADVANCE])) == []
        clock.advance(0.5)
        assert [message.received for message in bus.receive([Topic.ADVANCE])] == [3]

    # --- dead letters
    def test_after_its_last_retry_a_message_becomes_a_dead_letter_with_the_last_reason(
        self, make_bus: MakeBus, clock: MemoryClock
    ) -> None:
        bus = make_bus(clock, max_receives=3)
        bus.send(Topic.BUILD, "größe")
        for n in range(3):
            assert list(bus.dead_letters()) == []
            (message,) = bus.receive([Topic.BUILD])
            bus.retry(message, f"throttled {n}: zu groß")
        assert list(bus.receive([Topic.BUILD])) == []
        (letter,) = bus.dead_letters()
        assert (letter.topic, letter.body, letter.reason) == (Topic.BUILD, "größe", "throttled 2: zu groß")
        assert (letter.received, letter.at) == (3, clock.now())

    def test_a_message_that_kills_every_receiver_becomes_a_dead_letter(
        self, make_bus: MakeBus, clock: MemoryClock
    ) -> None:
        """Nobody is left to say why; and the messages behind it come through."""
        bus = make_bus(clock, max_receives=2)
        bus.send(Topic.ADVANCE, "poison")
        for _ in range(2):
            assert [message.body for message in bus.receive([Topic.ADVANCE])] == ["poison"]
            clock.advance(VISIBILITY)
        bus.send(Topic.ADVANCE, "good")
        assert [message.body for message in bus.receive([Topic.ADVANCE])] == ["good"]
        (letter,) = bus.dead_letters()
        assert (letter.body, letter.received) == ("poison", 2)
        assert letter.reason == "delivered 2 times and never acknowledged"

    def test_a_buried_message_is_a_dead_letter_at_once(self, bus: Bus, clock: MemoryClock) -> None:
        bus.send(Topic.SUBMIT, "{")
        (message,) = bus.receive([Topic.SUBMIT])
        bus.bury(message, "not JSON")
        bus.bury(message, "again")
        clock.advance(10 * VISIBILITY)
        assert list(bus.receive([Topic.SUBMIT])) == []
        assert [(letter.body, letter.reason) for letter in bus.dead_letters()] == [("{", "not JSON")]

    def test_dead_letters_are_listed_latest_first_up_to_the_limit(self, bus: Bus) -> None:
        for n in range(4):
            bus.send(Topic.SUBMIT, str(n))
            bus.bury(bus.receive([Topic.SUBMIT])[0], "bad")
        assert [letter.body for letter in bus.dead_letters()] == ["3", "2", "1", "0"]
        assert [letter.body for letter in bus.dead_letters(limit=2)] == ["3", "2"]
        assert len({letter.id for letter in bus.dead_letters()}) == 4

    def test_a_dead_letter_is_found_by_its_id(self, bus: Bus) -> None:
        for body in ("a", "b"):
            bus.send(Topic.ADVANCE, body)
            bus.bury(bus.receive([Topic.ADVANCE])[0], f"no {body}")
        for letter in bus.dead_letters():
            assert bus.dead_letter(letter.id) == letter
            assert (letter.topic, letter.reason, letter.received) == (Topic.ADVANCE, f"no {letter.body}", 1)

    def test_a_redriven_letter_is_a_fresh_message_on_its_topic(self, bus: Bus) -> None:
        bus.send(Topic.BUILD, "a")
        bus.bury(bus.receive([Topic.BUILD])[0], "bad")
        (letter,) = bus.dead_letters()
        bus.redrive(letter.id)
        assert list(bus.dead_letters()) == []
        (message,) = bus.receive([Topic.BUILD])
        assert (message.body, message.received) == ("a", 1)
        with pytest.raises(NotFound):
            bus.redrive(letter.id)

    def test_a_redriven_message_keeps_its_name(self, bus: Bus) -> None:
        """What was done for it before it was given up on must not be done again."""
        bus.send(Topic.BUILD, "a")
        bus.send(Topic.BUILD, "b")
        first, other = bus.receive([Topic.BUILD], limit=2)
        bus.bury(first, "bad")
        bus.ack([other])
        bus.redrive(bus.dead_letters()[0].id)
        (again,) = bus.receive([Topic.BUILD])
        assert again.id == first.id
        assert again.receipt != first.receipt
        bus.bury(again, "bad again")
        bus.redrive(bus.dead_letters()[0].id)
        assert bus.receive([Topic.BUILD])[0].id == first.id

    def test_a_dropped_letter_is_gone(self, bus: Bus, clock: MemoryClock) -> None:
        bus.send(Topic.BUILD, "a")
        bus.bury(bus.receive([Topic.BUILD])[0], "bad")
        (letter,) = bus.dead_letters()
        bus.drop(letter.id)
        clock.advance(10 * VISIBILITY)
        assert list(bus.dead_letters()) == []
        assert list(bus.receive([Topic.BUILD])) == []
        with pytest.raises(NotFound, match=letter.id):
            bus.drop(letter.id)

    def test_an_unknown_letter_is_not_found(self, bus: Bus) -> None:
        with pytest.raises(NotFound, match="no-such"):
            bus.redrive("no-such")
        with pytest.raises(NotFound, match="no-such"):
            bus.drop("no-such")
        with pytest.raises(NotFound, match="no-such"):
            bus.dead_letter("no-such")

    # --- waiting
    def test_a_wait_for_nothing_ends_with_nothing(self, bus: Bus) -> None:
        bus.send(Topic.BUILD, "of another topic")
        assert list(bus.receive([Topic.ADVANCE], wait=0.05)) == []

    def test_a_waiting_receiver_is_woken_by_each_send(self, bus: Bus) -> None:
        """Two who answer each other: one wake-up lost, and both wait far too long."""
        rounds = 50

        def answer() -> None:
            for _ in range(rounds):
                bus.ack(bus.receive([Topic.ADVANCE], wait=FAR_LONGER))
                bus.send(Topic.BUILD, "pong")

        def ask() -> int:
            pongs = 0
            for _ in range(rounds):
                bus.send(Topic.ADVANCE, "ping")
                received = bus.receive([Topic.BUILD], wait=FAR_LONGER)
                bus.ack(received)
                pongs += len(received)
            return pongs

        _aside(answer)
        assert _aside(ask).result(timeout=WOKEN) == rounds

    def test_a_waiting_receiver_is_woken_by_a_retry_and_by_a_redrive(self, bus: Bus) -> None:
        bus.send(Topic.ADVANCE, "a")
        (message,) = bus.receive([Topic.ADVANCE])
        waiting = _aside(lambda: bus.receive([Topic.ADVANCE], wait=FAR_LONGER))
        bus.retry(message, "throttled")
        (again,) = waiting.result(timeout=WOKEN)
        bus.bury(again, "bad")
        waiting = _aside(lambda: bus.receive([Topic.ADVANCE], wait=FAR_LONGER))
        bus.redrive(bus.dead_letters()[0].id)
        assert len(waiting.result(timeout=WOKEN)) == 1

    def test_a_waiting_receiver_sees_a_hidden_message_as_soon_as_it_is_visible(
        self, bus: Bus, clock: MemoryClock
    ) -> None:
        bus.send(Topic.ADVANCE, "a", delay=self.shortest_delay)
        waiting = _aside(lambda: bus.receive([Topic.ADVANCE], wait=FAR_LONGER))
        clock.advance(self.shortest_delay)
        assert [message.body for message in waiting.result(timeout=WOKEN)] == ["a"]

    def test_threads_that_share_the_work_receive_each_message_once(self, bus: Bus) -> None:
        for n in range(200):
            bus.send(Topic.ADVANCE, str(n))
        seen: list[str] = []

        def work() -> None:
            while batch := bus.receive([Topic.ADVANCE], limit=7):
                seen.extend(message.body for message in batch)
                bus.ack(batch)

        with ThreadPoolExecutor(8) as pool:
            for done in [pool.submit(work) for _ in range(8)]:
                done.result(timeout=60.0)
        assert Counter(seen) == Counter(str(n) for n in range(200))

    # --- over all of it
    def test_no_message_is_ever_lost_or_held_by_two(self, make_bus: MakeBus, clock: MemoryClock) -> None:

        @settings(max_examples=self.examples, deadline=None)
        @given(data=st.data())
        def holds(data: st.DataObject) -> None:
            bus = make_bus(clock)
            sent = 0
            done: set[str] = set()
            held: dict[str, tuple[Message, float]] = {}
            for _ in range(data.draw(st.integers(0, 25))):
                verbs = ["send", "receive", "advance"] + (["ack", "retry", "bury"] if held else [])
                verb = data.draw(st.sampled_from(verbs))
                if verb == "send":
                    bus.send(data.draw(st.sampled_from(Topic)), str(sent), data.draw(st.sampled_from([0.0, 30.0])))
                    sent += 1
                elif verb == "advance":
                    clock.advance(data.draw(st.sampled_from([1.0, 30.0, 60.0])))
                elif verb == "receive":
                    topics = data.draw(st.lists(st.sampled_from(Topic), min_size=1, unique=True))
                    for message in bus.receive(topics, limit=data.draw(st.integers(1, 3))):
                        assert message.topic in topics
                        assert message.body not in done
                        assert message.received <= MAX_RECEIVES
                        assert message.body not in held or held[message.body][1] <= clock.now()
                        held[message.body] = (message, clock.now() + VISIBILITY)
                else:
                    body = data.draw(st.sampled_from(sorted(held)))
                    message, _ = held.pop(body)
                    if verb == "ack":
                        bus.ack([message])
                        done.add(body)
                    elif verb == "retry":
                        bus.retry(message, "again", data.draw(st.sampled_from([0.0, 30.0])))
                    else:
                        bus.bury(message, "enough")
            clock.advance(10 * VISIBILITY)
            left = []
            while batch := bus.receive(list(Topic), limit=10):
                left += [message.body for message in batch]
            dead = [letter.body for letter in bus.dead_letters()]
            assert sorted([*left, *dead, *done], key=int) == [str(n) for n in range(sent)]

        holds()


class OneRecordBusContract:
    """What a bus with one record per message keeps to as well. SQS, of many hosts, promises neither."""

    @pytest.fixture
    def bus(self) -> Bus:
        raise AssertionError("the binding provides it, with BusContract")

    @pytest.fixture
    def clock(self) -> MemoryClock:
        raise AssertionError("the binding provides it, with BusContract")

    def test_the_longest_visible_come_first(self, bus: Bus, clock: MemoryClock) -> None:
        """So that a flood on one topic cannot starve another."""
        bus.send(Topic.BUILD, "later", delay=1.0)
        bus.send(Topic.ADVANCE, "latest", delay=2.0)
        bus.send(Topic.ADVANCE, "now")
        clock.advance(5.0)
        order = [bus.receive([Topic.ADVANCE, Topic.BUILD])[0].body for _ in range(3)]
        assert order == ["now", "later", "latest"]

    def test_a_delivery_that_was_given_back_is_no_longer_held(self, bus: Bus) -> None:
        bus.send(Topic.ADVANCE, "a")
        (message,) = bus.receive([Topic.ADVANCE])
        bus.retry(message, "throttled")
        bus.ack([message])
        assert [message.body for message in bus.receive([Topic.ADVANCE])] == ["a"]


def _aside(work: Callable[[], Answer]) -> Future[Answer]:
    """The work in a thread that does not keep a failed test from ending."""
    answer: Future[Answer] = Future()

    def run() -> None:
        try:
            answer.set_result(work())
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return answer
