"""The Bus on SQS: a queue per topic, and a queue of dead letters beside each.

In the cloud Lambda receives and acknowledges; there this class sends, retries and buries. A worker on a machine of
one's own does all of it here. What a message looks like on the wire is in `letters`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain, count
from math import ceil
from typing import TYPE_CHECKING

from slipway.adapters.aws import letters
from slipway.adapters.aws.failures import code_of, of_code, translated, words_of
from slipway.adapters.aws.waiting import Waiting
from slipway.errors import Invalid, NotFound, Permanent, Problem
from slipway.model import DeadLetter, Message, Topic
from slipway.ports import Clock

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import MessageAttributeValueTypeDef, MessageTypeDef

    from slipway.adapters.aws.clients import Clients

BATCH = 10
"""Messages in one call."""
LONGEST_DELAY = 900.0
"""Seconds that SQS delays a message for.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-delay-queues.html"""
LONGEST_RETRY = 11 * 3600.0
"""Seconds. SQS hides a message for 12 hours at most, counted from when it was received; an hour is for its handling.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html"""
LOOK = 30
"""Seconds for which a dead letter is hidden from others while it is looked at; given back as soon as that is over."""
MOST_LETTERS = 1000
"""Letters of a topic among which the latest are listed, and one is looked for."""

OUTDATED = frozenset(
    {
        *("ReceiptHandleIsInvalid", "MessageNotInflight", "AWS.SimpleQueueService.MessageNotInflight"),
        "AWS.SimpleQueueService.ReceiptHandleIsInvalid",
    }
)


class SqsBus:
    """A Bus (see `slipway.ports`), safe for use by several threads and processes.

    `queues`, `dead`: topic → URL of its queue, and of the queue of its dead letters. `visibility`: seconds for which a
    delivery is hidden from others. `max_receives` must be the `maxReceiveCount` of the queues' redrive policy: SQS
    itself then moves what kills its receivers, after as many deliveries as a message that is handed back gets.

    Among the messages of a topic SQS keeps no strict order; no topic waits behind another. A receipt ends with the next
    delivery, not when it is given back: SQS deletes a message by the latest receipt that anybody has.
    """

    def __init__(
        self,
        clients: Clients,
        queues: Mapping[Topic, str],
        dead: Mapping[Topic, str],
        *,
        clock: Clock,
        visibility: float = 60.0,
        max_receives: int = 5,
    ) -> None:
        self._clients = clients
        self._queues = queues
        self._dead = dead
        self._clock = clock
        self._visibility = ceil(visibility)
        self._max_receives = max_receives
        self._waiting = Waiting(self._poll, keep=visibility / 2)
        self._turns = count()

    def send(self, topic: Topic, body: str, delay: float = 0.0) -> None:
        """Raises Invalid for a body that SQS does not take. A delay is rounded up to whole seconds, and cut to 15
        minutes: whoever is woken too early finds nothing to do, and the tick comes in time."""
        letters.check(body)
        self._send(_url(self._queues, topic), body, {}, min(ceil(delay), int(LONGEST_DELAY)))

    def receive(self, topics: Sequence[Topic], limit: int = 1, wait: float = 0.0) -> Sequence[Message]:
        """Without a wait SQS asks only some of its hosts, and may overlook a message that is there. At most 10 at once
        of a topic."""
        if wait > 0:
            return self._waiting.take(topics, limit, wait)
        messages = self._waiting.found(topics, limit)
        first = next(self._turns) % max(len(topics), 1)
        for topic in (*topics[first:], *topics[:first]):
            if len(messages) < limit:
                messages += self._poll(topic, limit - len(messages), 0)
        return messages

    def ack(self, messages: Sequence[Message]) -> None:
        failures = []
        for topic in {message.topic for message in messages}:
            receipts = [message.receipt for message in messages if message.topic is topic]
            failures += self._delete(_url(self._queues, topic), receipts)
        if failures:
            raise failures[0]

    def retry(self, message: Message, reason: str, delay: float = 0.0) -> None:
        """A delay is rounded up to whole seconds, and cut to 11 hours."""
        if message.received >= self._max_receives:
            self.bury(message, reason)
        else:
            self._hide(message, min(ceil(delay), int(LONGEST_RETRY)))

    def bury(self, message: Message, reason: str) -> None:
        # Held first: so it is still ours, and nobody else gets it while it is on its way.
        if self._hide(message, self._visibility):
            attributes = letters.buried(message, reason, self._clock.now())
            self._send(_url(self._dead, message.topic), message.body, attributes)
            self.ack([message])

    def dead_letters(self, limit: int = 100) -> Sequence[DeadLetter]:
        """The latest first, of up to 1,000 that SQS hands out for each topic. Two who look at the same time may each
        see only a part."""
        with ThreadPoolExecutor(len(self._dead) or 1) as pool:
            found = list(chain.from_iterable(pool.map(self._listed, self._dead)))
        # SQS hands out the older before the younger, more or less, and sorting keeps that order among equals.
        return sorted(found, key=lambda letter: letter.at)[::-1][:limit]

    def dead_letter(self, letter_id: str) -> DeadLetter:
        with self._looked_up(letter_id) as (topic, raw):
            return letters.letter_of(topic, raw, self._max_receives)

    def redrive(self, letter_id: str) -> None:
        with self._looked_up(letter_id) as (topic, raw):
            # Sent first: whoever stops in between leaves it twice, under one name, and not lost.
            self._send(_url(self._queues, topic), *letters.redriven(topic, raw))
            self._drop(topic, raw)

    def drop(self, letter_id: str) -> None:
        with self._looked_up(letter_id) as (topic, raw):
            self._drop(topic, raw)

    # --- dead letters
    def _listed(self, topic: Topic) -> list[DeadLetter]:
        with self._looking(topic) as found:
            return [letters.letter_of(topic, raw, self._max_receives) for raw in found]

    @contextmanager
    def _looked_up(self, letter_id: str) -> Iterator[tuple[Topic, MessageTypeDef]]:
        topics = [topic for topic in self._dead if letter_id.startswith(f"{topic}.")]
        for topic in topics:
            with self._looking(topic) as found:
                for raw in found:
                    if letters.letter_id(topic, raw) == letter_id:
                        yield topic, raw
                        return
        raise NotFound(f"There is no dead letter '{letter_id}', or someone else is looking at it now. List them.")

    @contextmanager
    def _looking(self, topic: Topic) -> Iterator[Iterator[MessageTypeDef]]:
        """The letters of a topic, each once, as far as they are asked for. Those that were looked at are given back."""
        url = _url(self._dead, topic)
        seen: list[MessageTypeDef] = []

        def letters_of() -> Iterator[MessageTypeDef]:
            # With a wait: only then does SQS ask all its hosts.
            while len(seen) < MOST_LETTERS and (batch := self._receive(url, BATCH, wait=1, visibility=LOOK)):
                seen.extend(batch)
                yield from batch

        try:
            yield letters_of()
        finally:
            self._give_back(url, [raw["ReceiptHandle"] for raw in seen])

    def _give_back(self, url: str, receipts: Sequence[str]) -> None:
        """What cannot be given back, such as a letter that was dropped, needs no more than its visibility timeout."""
        for batch in _batches(receipts):
            with translated("give dead letters back"):
                self._clients.sqs.change_message_visibility_batch(
                    QueueUrl=url,
                    Entries=[{"Id": str(n), "ReceiptHandle": each, "VisibilityTimeout": 0} for n, each in batch],
                )

    def _drop(self, topic: Topic, raw: MessageTypeDef) -> None:
        for failure in self._delete(_url(self._dead, topic), [raw["ReceiptHandle"]]):
            raise failure

    # --- calls
    def _poll(self, topic: Topic, limit: int, wait: int) -> list[Message]:
        found = self._receive(_url(self._queues, topic), min(limit, BATCH), wait, self._visibility)
        return [letters.message_of(topic, raw) for raw in found]

    def _receive(self, url: str, limit: int, wait: int, visibility: int) -> list[MessageTypeDef]:
        with translated("receive messages"):
            answer = self._clients.sqs.receive_message(
                QueueUrl=url,
                MaxNumberOfMessages=limit,
                WaitTimeSeconds=wait,
                VisibilityTimeout=visibility,
                MessageAttributeNames=letters.READ,
                MessageSystemAttributeNames=["ApproximateReceiveCount", "SentTimestamp"],
            )
        return answer.get("Messages", [])

    def _send(self, url: str, body: str, attributes: Mapping[str, str], delay: int = 0) -> None:
        texts: dict[str, MessageAttributeValueTypeDef] = {
            name: {"DataType": "String", "StringValue": text} for name, text in attributes.items()
        }
        with translated("send a message"):
            self._clients.sqs.send_message(QueueUrl=url, MessageBody=body, MessageAttributes=texts, DelaySeconds=delay)

    def _hide(self, message: Message, seconds: int) -> bool:
        """For so long from now; False when the delivery is not held any more."""
        url = _url(self._queues, message.topic)
        try:
            with translated("keep a message for later"):
                self._clients.sqs.change_message_visibility(
                    QueueUrl=url, ReceiptHandle=message.receipt, VisibilityTimeout=seconds
                )
        except Permanent as error:
            if not isinstance(error.__cause__, Exception) or not _outdated(error.__cause__):
                raise
            return False
        return True

    def _delete(self, url: str, receipts: Sequence[str]) -> list[Exception]:
        """What failed. All are tried; an outdated receipt is no failure."""
        failures: list[Exception] = []
        for batch in _batches(receipts):
            with translated("acknowledge messages"):
                answer = self._clients.sqs.delete_message_batch(
                    QueueUrl=url, Entries=[{"Id": str(n), "ReceiptHandle": each} for n, each in batch]
                )
            for entry in answer.get("Failed", []):
                if entry["Code"] not in OUTDATED:
                    status = 400 if entry["SenderFault"] else 500
                    words = entry.get("Message", "")
                    failures.append(of_code(entry["Code"], words, status, "acknowledge a message"))
        return failures


def _url(queues: Mapping[Topic, str], topic: Topic) -> str:
    try:
        return queues[topic]
    except KeyError:
        fix = f"Known: {', '.join(queues) or 'none'}"
        raise Invalid(Problem("queue", f"no SQS queue is set for '{topic}'", fix=fix)) from None


def _batches(receipts: Sequence[str]) -> Iterator[list[tuple[int, str]]]:
    for start in range(0, len(receipts), BATCH):
        yield list(enumerate(receipts[start : start + BATCH]))


def _outdated(error: Exception) -> bool:
    """SQS has several words for a receipt that counts no more."""
    code = code_of(error)
    return code in OUTDATED or (code == "InvalidParameterValue" and "ReceiptHandle" in words_of(error))
