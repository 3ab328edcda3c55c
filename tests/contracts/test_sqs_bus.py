"""The bus on SQS: the contract, and what only SQS has: senders that know nothing of us, limits, and its own redrive."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from tests.conditions import eventually
from tests.contracts.bus_contract import FAR_LONGER, MAX_RECEIVES, VISIBILITY, WOKEN, BusContract, MakeBus
from tests.standins.aws.answers import Refusal, answering
from tests.standins.aws.moto_server import unique
from tests.standins.aws.moto_sqs import clock_of_sqs

from slipway.adapters.aws.bus import SqsBus
from slipway.adapters.aws.clients import Clients
from slipway.adapters.aws.letters import LARGEST, LONGEST_REASON, buried, message_of_record
from slipway.adapters.memory.clock import MemoryClock
from slipway.errors import Forbidden, Invalid, NotFound, Permanent, SlipwayError, Temporary
from slipway.model import Message, Topic
from slipway.ports import Bus, Clock

SPEC = '{"queue": "gpu", "job": {"kind": "git", "url": "https://git.example/größe"}}'
EVENT = {
    "version": "0",
    "id": "17793124-05d4-b198-2fde-7ededc63b103",
    "detail-type": "Slipway Submission",
    "source": "com.example.training",
    "account": "123456789012",
    "time": "2026-03-01T12:00:00Z",
    "region": "eu-west-1",
    "resources": [],
    "detail": json.loads(SPEC),
}


@dataclass(frozen=True)
class Queues:
    """Of one bus: topic → URL."""

    live: Mapping[Topic, str]
    dead: Mapping[Topic, str]


def made(aws: Clients, max_receives: int = MAX_RECEIVES) -> Queues:
    """New queues, with the redrive policy that belongs to such a bus."""
    live, dead = {}, {}
    for topic in Topic:
        dead[topic] = aws.sqs.create_queue(QueueName=unique(f"{topic}-dead"))["QueueUrl"]
        arn = aws.sqs.get_queue_attributes(QueueUrl=dead[topic], AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": max_receives})
        live[topic] = aws.sqs.create_queue(QueueName=unique(topic), Attributes={"RedrivePolicy": policy})["QueueUrl"]
    return Queues(live, dead)


@pytest.fixture
def clock(moto: str, monkeypatch: pytest.MonkeyPatch) -> MemoryClock:
    return clock_of_sqs(monkeypatch)


@pytest.fixture
def queues(aws: Clients) -> Queues:
    return made(aws)


@pytest.fixture
def bus(aws: Clients, queues: Queues, clock: MemoryClock) -> Bus:
    return SqsBus(aws, queues.live, queues.dead, clock=clock)


class TestSqsBus(BusContract):
    shortest_delay = 1.0
    examples = 20

    @pytest.fixture
    def clock(self, clock: MemoryClock) -> MemoryClock:
        return clock

    @pytest.fixture
    def make_bus(self, aws: Clients) -> MakeBus:
        def make(clock: Clock, visibility: float = VISIBILITY, max_receives: int = MAX_RECEIVES) -> Bus:
            queues = made(aws, max_receives)
            return SqsBus(aws, queues.live, queues.dead, clock=clock, visibility=visibility, max_receives=max_receives)

        return make


class TestSenders:
    """Whoever may send to the submission queue may submit."""

    def test_a_message_of_a_users_own_code_is_taken_as_it_is_and_named_by_sqs(
        self, aws: Clients, queues: Queues, bus: Bus
    ) -> None:
        sent = aws.sqs.send_message(QueueUrl=queues.live[Topic.SUBMIT], MessageBody=SPEC)
        (message,) = bus.receive([Topic.SUBMIT])
        assert (message.body, message.id, message.received) == (SPEC, sent["MessageId"], 1)

    def test_attributes_of_another_kind_do_no_harm(self, aws: Clients, queues: Queues, bus: Bus) -> None:
        aws.sqs.send_message(
            QueueUrl=queues.live[Topic.SUBMIT],
            MessageBody=SPEC,
            MessageAttributes={"slipway-id": {"DataType": "Binary", "BinaryValue": b"\0"}},
        )
        (message,) = bus.receive([Topic.SUBMIT])
        assert message.body == SPEC

    def test_the_spec_is_taken_out_of_eventbridges_envelope(self, aws: Clients, queues: Queues, bus: Bus) -> None:
        """An event that is delivered twice keeps one name, and so becomes one item."""
        for _ in range(2):
            aws.sqs.send_message(QueueUrl=queues.live[Topic.SUBMIT], MessageBody=json.dumps(EVENT))
        received = bus.receive([Topic.SUBMIT], limit=10)
        assert [(json.loads(message.body), message.id) for message in received] == [(EVENT["detail"], EVENT["id"])] * 2

    @pytest.mark.parametrize(
        "body",
        [
            '{"detail-type": "x"}',
            '{"detail-type": ',
            '["detail-type", "id", "source", "detail"]',
            '{"id": "a", "source": "b", "detail": {}}',
        ],
    )
    def test_what_only_looks_like_an_event_is_left_as_it_is(
        self, aws: Clients, queues: Queues, bus: Bus, body: str
    ) -> None:
        aws.sqs.send_message(QueueUrl=queues.live[Topic.SUBMIT], MessageBody=body)
        assert bus.receive([Topic.SUBMIT])[0].body == body

    def test_an_event_on_another_topic_is_no_submission(self, bus: Bus) -> None:
        bus.send(Topic.ADVANCE, json.dumps(EVENT))
        assert json.loads(bus.receive([Topic.ADVANCE])[0].body) == EVENT

    def test_an_events_name_outlives_a_redrive(self, aws: Clients, queues: Queues, bus: Bus) -> None:
        aws.sqs.send_message(QueueUrl=queues.live[Topic.SUBMIT], MessageBody=json.dumps(EVENT))
        bus.bury(bus.receive([Topic.SUBMIT])[0], "no such queue")
        (letter,) = bus.dead_letters()
        assert json.loads(letter.body) == EVENT["detail"]
        bus.redrive(letter.id)
        (again,) = bus.receive([Topic.SUBMIT])
        assert (again.id, json.loads(again.body)) == (EVENT["id"], EVENT["detail"])

    @pytest.mark.parametrize(
        ("attributes", "body", "expected"),
        [
            ({}, SPEC, "059f36b4-87a3-44ab-83d2-661975830a7d"),
            ({"slipway-id": {"stringValue": "first-name", "dataType": "String"}}, SPEC, "first-name"),
            ({}, json.dumps(EVENT), EVENT["id"]),
        ],
    )
    def test_a_record_of_lambda_is_the_same_message(
        self, attributes: Mapping[str, Any], body: str, expected: str
    ) -> None:
        record = {
            "messageId": "059f36b4-87a3-44ab-83d2-661975830a7d",
            "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a...",
            "body": body,
            "attributes": {"ApproximateReceiveCount": "3", "SentTimestamp": "1545082649183"},
            "messageAttributes": attributes,
            "eventSource": "aws:sqs",
        }
        message = message_of_record(Topic.SUBMIT, record)
        assert json.loads(message.body) == json.loads(SPEC)
        assert (message.id, message.received, message.receipt) == (expected, 3, record["receiptHandle"])


class TestLimits:
    def test_the_largest_message_goes_through(self, bus: Bus) -> None:
        bus.send(Topic.SUBMIT, "x" * LARGEST)
        assert len(bus.receive([Topic.SUBMIT])[0].body) == LARGEST

    @pytest.mark.parametrize("body", ["x" * (LARGEST + 1), "ö" * (LARGEST // 2) + "x"])
    def test_a_larger_one_is_refused_with_its_size_and_the_limit(self, bus: Bus, body: str) -> None:
        with pytest.raises(Invalid, match=r"^body: SQS takes at most 1,048,576 bytes, and this has 1,048,577\. Put"):
            bus.send(Topic.SUBMIT, body)
        assert list(bus.receive([Topic.SUBMIT])) == []

    @pytest.mark.parametrize(("character", "name"), [("\0", "0000"), ("\x1b", "001B"), ("\ufffe", "FFFE")])
    def test_a_character_that_sqs_does_not_take_is_named(self, bus: Bus, character: str, name: str) -> None:
        with pytest.raises(Invalid, match=rf"U\+{name}, at 3"):
            bus.send(Topic.SUBMIT, f"abc{character}")

    def test_half_a_surrogate_pair_is_refused_too(self, bus: Bus) -> None:
        with pytest.raises(Invalid, match=r"U\+D800"):
            bus.send(Topic.SUBMIT, "\ud800")

    def test_an_empty_message_is_refused(self, bus: Bus) -> None:
        with pytest.raises(Invalid, match="empty"):
            bus.send(Topic.SUBMIT, "")

    def test_a_delay_beyond_15_minutes_is_cut_to_them(self, bus: Bus, clock: MemoryClock) -> None:
        bus.send(Topic.ADVANCE, "a", delay=86_400.0)
        clock.advance(899.0)
        assert list(bus.receive([Topic.ADVANCE])) == []
        clock.advance(1.0)
        assert len(bus.receive([Topic.ADVANCE])) == 1

    def test_a_retry_beyond_12_hours_leaves_sqs_an_hour(self, bus: Bus, clock: MemoryClock) -> None:
        bus.send(Topic.ADVANCE, "a")
        bus.retry(bus.receive([Topic.ADVANCE])[0], "later", delay=86_400.0)
        clock.advance(11 * 3600.0 - 1)
        assert list(bus.receive([Topic.ADVANCE])) == []
        clock.advance(1.0)
        assert len(bus.receive([Topic.ADVANCE])) == 1

    def test_more_than_ten_are_acknowledged_in_batches(self, bus: Bus, clock: MemoryClock) -> None:
        for n in range(23):
            bus.send(Topic.ADVANCE, str(n))
        held = [message for _ in range(3) for message in bus.receive([Topic.ADVANCE], limit=10)]
        assert len(held) == 23
        bus.ack(held)
        clock.advance(VISIBILITY)
        assert list(bus.receive([Topic.ADVANCE])) == []

    @pytest.mark.parametrize("reason", ["", "\0 no \x1b text", "x" * 10_000])
    def test_any_reason_can_be_kept_with_a_dead_letter(self, bus: Bus, reason: str) -> None:
        bus.send(Topic.ADVANCE, "a")
        bus.bury(bus.receive([Topic.ADVANCE])[0], reason)
        (letter,) = bus.dead_letters()
        assert letter.received == 1
        assert len(letter.reason) == min(len(reason), LONGEST_REASON)

    def test_a_message_that_leaves_a_reason_no_room_is_buried_all_the_same(self, bus: Bus) -> None:
        bus.send(Topic.SUBMIT, "x" * LARGEST)
        bus.bury(bus.receive([Topic.SUBMIT])[0], "not JSON")
        (letter,) = bus.dead_letters()
        assert len(letter.body) == LARGEST

    @pytest.mark.parametrize(("spare", "told"), [(0, False), (100, False), (1000, True)])
    def test_a_dead_letter_is_no_larger_than_sqs_takes(self, spare: int, told: bool) -> None:
        """Attributes count, by name, type and value; moto does not look."""
        message = Message(Topic.SUBMIT, "ö" * ((LARGEST - spare) // 2), "AQEB", id="0" * 36)
        attributes = buried(message, "größer " * 10, 1_700_000_000.0)
        size = sum(len(f"{name}String{text}".encode()) for name, text in attributes.items())
        assert len(message.body.encode()) + size <= LARGEST
        assert bool(attributes) is told


class TestDeadLetters:
    def test_one_that_sqs_moved_keeps_its_name_when_it_is_redriven(self, aws: Clients, clock: MemoryClock) -> None:
        queues = made(aws, max_receives=1)
        bus = SqsBus(aws, queues.live, queues.dead, clock=clock, max_receives=1)
        sent = clock.now()
        bus.send(Topic.BUILD, "poison")
        (message,) = bus.receive([Topic.BUILD])
        clock.advance(VISIBILITY)
        assert list(bus.receive([Topic.BUILD])) == []
        (letter,) = bus.dead_letters()
        assert (letter.received, letter.reason) == (1, "delivered 1 times and never acknowledged")
        assert letter.at == pytest.approx(sent, abs=1.0)
        assert bus.dead_letter(letter.id) == letter
        bus.redrive(letter.id)
        (again,) = bus.receive([Topic.BUILD])
        assert (again.id, again.received) == (message.id, 1)

    def test_more_than_a_batch_is_listed(self, bus: Bus) -> None:
        for n in range(23):
            bus.send(Topic.ADVANCE, str(n))
            bus.bury(bus.receive([Topic.ADVANCE])[0], "bad")
        assert [int(letter.body) for letter in bus.dead_letters()] == list(range(22, -1, -1))
        assert [int(letter.body) for letter in bus.dead_letters(limit=5)] == [22, 21, 20, 19, 18]

    def test_letters_are_in_order_over_all_topics(self, bus: Bus, clock: MemoryClock) -> None:
        for topic in (Topic.BUILD, Topic.SUBMIT, Topic.ADVANCE):
            bus.send(topic, topic)
            bus.bury(bus.receive([topic])[0], "bad")
            clock.advance(1.0)
        assert [letter.topic for letter in bus.dead_letters()] == [Topic.ADVANCE, Topic.SUBMIT, Topic.BUILD]

    def test_whoever_looks_at_the_queue_sees_what_and_why(self, aws: Clients, queues: Queues, bus: Bus) -> None:
        bus.send(Topic.SUBMIT, "{")
        (message,) = bus.receive([Topic.SUBMIT])
        bus.bury(message, "not JSON")
        (raw,) = aws.sqs.receive_message(QueueUrl=queues.dead[Topic.SUBMIT], MessageAttributeNames=["All"])["Messages"]
        told = {name: value["StringValue"] for name, value in raw["MessageAttributes"].items()}
        assert raw["Body"] == "{"
        assert told.pop("slipway-at")
        assert told == {
            "slipway-id": message.id,
            "slipway-reason": "not JSON",
            "slipway-received": "1",
            "slipway-topic": "submit",
        }

    def test_a_letter_that_someone_else_holds_is_said_to_be_perhaps_there(
        self, aws: Clients, queues: Queues, bus: Bus
    ) -> None:
        bus.send(Topic.SUBMIT, "{")
        bus.bury(bus.receive([Topic.SUBMIT])[0], "bad")
        (letter,) = bus.dead_letters()
        aws.sqs.receive_message(QueueUrl=queues.dead[Topic.SUBMIT], VisibilityTimeout=600)
        with pytest.raises(NotFound, match="someone else is looking"):
            bus.drop(letter.id)


class TestWaitingOnSeveral:
    """A queue is asked by a call of up to 20 seconds, which cannot be taken back."""

    def test_whoever_waits_on_several_topics_is_woken_by_each(self, bus: Bus) -> None:
        topics = list(Topic)
        with ThreadPoolExecutor(1) as pool:
            for topic in [*topics, *topics]:
                waiting = pool.submit(bus.receive, topics, 1, FAR_LONGER)
                bus.send(topic, f"on {topic}")
                (message,) = waiting.result(timeout=WOKEN)
                assert message.body == f"on {topic}"
                bus.ack([message])

    def test_what_is_found_after_its_receiver_has_gone_is_the_next_ones_first_delivery(
        self, bus: Bus, clock: MemoryClock
    ) -> None:
        """However often a busy topic is served, a quiet one's message loses no delivery by it."""
        with ThreadPoolExecutor(1) as pool:
            for n in range(2 * MAX_RECEIVES):
                waiting = pool.submit(bus.receive, [Topic.ADVANCE, Topic.BUILD], 1, FAR_LONGER)
                bus.send(Topic.ADVANCE, f"busy {n}")
                (message,) = waiting.result(timeout=WOKEN)
                bus.ack([message])
                assert message.body == f"busy {n}"
        bus.send(Topic.BUILD, "quiet")
        quiet = eventually(lambda: bus.receive([Topic.BUILD]))
        assert [(message.body, message.received) for message in quiet] == [("quiet", 1)]
        bus.ack(quiet)
        clock.advance(VISIBILITY)
        assert list(bus.receive([Topic.BUILD])) == []

    def test_threads_that_wait_on_the_same_topics_get_each_message_once(self, bus: Bus) -> None:
        seen: list[str] = []
        enough = threading.Event()

        def work() -> None:
            while not enough.is_set():
                batch = bus.receive([Topic.SUBMIT, Topic.ADVANCE], limit=3, wait=0.2)
                seen.extend(message.body for message in batch)
                bus.ack(batch)

        with ThreadPoolExecutor(4) as pool:
            working = [pool.submit(work) for _ in range(4)]
            for n in range(40):
                bus.send(Topic.ADVANCE if n % 2 else Topic.SUBMIT, str(n))
            eventually(lambda: len(seen) >= 40, within=60.0)
            enough.set()
            for done in working:
                done.result(timeout=WOKEN)
        assert sorted(seen, key=int) == [str(n) for n in range(40)]

    def test_a_failure_reaches_whoever_waits(self, aws: Clients, queues: Queues, clock: MemoryClock) -> None:
        gone = {**queues.live, Topic.BUILD: queues.live[Topic.BUILD] + "-gone"}
        bus = SqsBus(aws, gone, queues.dead, clock=clock)
        for _ in range(2):
            with pytest.raises(NotFound, match="cannot receive messages"):
                bus.receive([Topic.ADVANCE, Topic.BUILD], wait=FAR_LONGER)
        bus.send(Topic.ADVANCE, "a")
        assert [message.body for message in bus.receive([Topic.ADVANCE], wait=FAR_LONGER)] == ["a"]


class TestFailures:
    def test_a_topic_without_a_queue_is_named(self, aws: Clients, queues: Queues, clock: MemoryClock) -> None:
        bus = SqsBus(aws, {Topic.SUBMIT: queues.live[Topic.SUBMIT]}, {}, clock=clock)
        with pytest.raises(Invalid, match=r"no SQS queue is set for 'build'.*Known: submit"):
            bus.send(Topic.BUILD, "a")
        assert list(bus.dead_letters()) == []

    def test_a_queue_that_is_gone_is_not_found(self, aws: Clients, queues: Queues, bus: Bus) -> None:
        aws.sqs.delete_queue(QueueUrl=queues.live[Topic.BUILD])
        with pytest.raises(NotFound, match="cannot send a message"):
            bus.send(Topic.BUILD, "a")

    @pytest.mark.parametrize(
        ("status", "code", "words", "outdated"),
        [
            (400, "AWS.SimpleQueueService.MessageNotInflight", "The message referred to isn't in flight.", True),
            (
                400,
                "InvalidParameterValue",
                "Value AQEB for parameter ReceiptHandle is invalid. Reason: Message does not exist or is not available"
                " for visibility timeout change.",
                True,
            ),
            (404, "ReceiptHandleIsInvalid", "The input receipt handle is invalid.", True),
            (400, "InvalidParameterValue", "Value 43201 for parameter VisibilityTimeout is invalid.", False),
            (403, "AccessDenied", "Access to the resource is denied.", False),
            (500, "InternalFailure", "The request processing has failed.", False),
        ],
    )
    def test_each_of_sqss_words_for_an_outdated_receipt_is_known(
        self, aws: Clients, monkeypatch: pytest.MonkeyPatch, status: int, code: str, words: str, outdated: bool
    ) -> None:
        held = Message(Topic.ADVANCE, "a", "AQEB")
        with answering(Refusal(status, code, words)) as url:
            monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", url)
            bus = elsewhere(url)
            assert _passes(lambda: bus.retry(held, "reason")) is outdated
            assert _passes(lambda: bus.bury(held, "reason")) is outdated

    @pytest.mark.parametrize(
        ("code", "sender", "expected"),
        [("InternalError", False, Temporary), ("AccessDenied", True, Forbidden), ("InvalidAddress", True, Permanent)],
    )
    def test_a_failure_within_a_batch_is_one_of_the_call(
        self, aws: Clients, monkeypatch: pytest.MonkeyPatch, code: str, sender: bool, expected: type[SlipwayError]
    ) -> None:
        entry = {"Id": "0", "SenderFault": sender, "Code": code, "Message": "so it is"}
        with answering({"Successful": [], "Failed": [entry]}) as url:
            monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", url)
            with pytest.raises(expected, match="so it is"):
                elsewhere(url).ack([Message(Topic.ADVANCE, "a", "AQEB")])

    def test_an_outdated_receipt_in_a_batch_is_no_failure(self, aws: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
        entry = {"Id": "0", "SenderFault": True, "Code": "ReceiptHandleIsInvalid", "Message": "so it is"}
        with answering({"Successful": [], "Failed": [entry]}) as url:
            monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", url)
            assert _passes(lambda: elsewhere(url).ack([Message(Topic.ADVANCE, "a", "AQEB")]))

    def test_no_body_is_in_the_log(self, bus: Bus, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        bus.send(Topic.SUBMIT, "s3cr3t-value")
        bus.bury(bus.receive([Topic.SUBMIT])[0], "bad")
        bus.redrive(bus.dead_letters()[0].id)
        assert "s3cr3t-value" not in caplog.text


def elsewhere(url: str) -> Bus:
    """A bus on queues of a server that is not moto."""
    queue = f"{url}/123456789012/a-queue"
    return SqsBus(Clients(), dict.fromkeys(Topic, queue), dict.fromkeys(Topic, queue), clock=MemoryClock())


def _passes(act: Callable[[], None]) -> bool:
    try:
        act()
    except SlipwayError:
        return False
    return True
