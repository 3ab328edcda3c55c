"""What a message looks like on SQS: ours, one of a user's own code, EventBridge's, and a dead letter.

Our words about a message are its attributes; its body is only ever what was sent. So a body that somebody else put on
the queue is as good as ours, and whoever looks at a dead letter in AWS's console sees what was submitted.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from slipway.errors import Invalid, Problem
from slipway.model import DeadLetter, Message, Topic

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import MessageTypeDef

LARGEST = 1024 * 1024
"""Bytes of a message, its attributes included (since August 2025).
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html"""
LONGEST_REASON = 2000
"""Characters of a reason that are kept with a dead letter."""

ID = "slipway-id"
"""The attribute that names a message which has been a dead letter: SQS gives it a new MessageId each time."""
_REASON = "slipway-reason"
_RECEIVED = "slipway-received"
_AT = "slipway-at"
_TOPIC = "slipway-topic"
READ = (ID, _REASON, _RECEIVED, _AT)
"""The attributes that are asked for."""

_NOT_TAKEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html"""
_EVENT = frozenset({"id", "detail-type", "source", "detail"})
"""https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-events-structure.html"""


def check(body: str) -> None:
    """Raises Invalid for a body that SQS would not take."""
    size = len(body.encode("utf-8", "surrogatepass"))
    if not body:
        raise Invalid(Problem("body", "SQS takes no empty message"))
    if size > LARGEST:
        fix = "Put what is large into an archive or an artifact, and name it"
        raise Invalid(Problem("body", f"SQS takes at most {LARGEST:,} bytes, and this has {size:,}", fix=fix))
    found = _NOT_TAKEN.search(body)
    if found is not None:
        rule = f"SQS does not take the character U+{ord(found[0]):04X}, at {found.start()}"
        raise Invalid(Problem("body", rule, fix="Write it as JSON does: \\u and its number"))


def message_of(topic: Topic, raw: MessageTypeDef) -> Message:
    """A message as ReceiveMessage gives it."""
    name, body = _name_and_body(topic, raw["MessageId"], raw["Body"], _texts(raw))
    received = int(raw.get("Attributes", {}).get("ApproximateReceiveCount", "1"))
    return Message(topic, body, raw["ReceiptHandle"], received, name)


def message_of_record(topic: Topic, record: Mapping[str, Any]) -> Message:
    """A message as Lambda hands it to a function: the same with other capitals.
    https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html"""
    attributes = record.get("messageAttributes") or {}
    texts = {name: value["stringValue"] for name, value in attributes.items() if "stringValue" in value}
    name, body = _name_and_body(topic, record["messageId"], record["body"], texts)
    received = int((record.get("attributes") or {}).get("ApproximateReceiveCount", "1"))
    return Message(topic, body, record["receiptHandle"], received, name)


def letter_of(topic: Topic, raw: MessageTypeDef, max_receives: int) -> DeadLetter:
    """Buried by us, or moved by SQS itself after `max_receives` deliveries that killed whoever got it: then nobody is
    left to say why, and `at` is when it was sent."""
    texts = _texts(raw)
    _, body = _name_and_body(topic, raw["MessageId"], raw["Body"], texts)
    if _RECEIVED in texts:
        reason, received, at = texts.get(_REASON, ""), int(texts[_RECEIVED]), float(texts[_AT])
    else:
        reason, received = f"delivered {max_receives} times and never acknowledged", max_receives
        at = sent_at(raw)
    return DeadLetter(letter_id(topic, raw), topic, body, reason, received, at)


def letter_id(topic: Topic, raw: MessageTypeDef) -> str:
    """`build.0a1b…`: its queue, so that it is looked for there alone, and its MessageId, which it keeps there."""
    return f"{topic}.{raw['MessageId']}"


def sent_at(raw: MessageTypeDef) -> float:
    """Seconds since the Unix epoch."""
    return int(raw.get("Attributes", {}).get("SentTimestamp", "0")) / 1000


def buried(message: Message, reason: str, at: float) -> Mapping[str, str]:
    """The attributes of its dead letter; none where the body leaves them no room: a letter without a reason is better
    than a message that comes again and again."""
    said = _NOT_TAKEN.sub("\N{REPLACEMENT CHARACTER}", reason)
    if len(said) > LONGEST_REASON:
        said = f"{said[: LONGEST_REASON - 1]}…"
    texts = {ID: message.id, _REASON: said, _RECEIVED: str(message.received), _AT: repr(at), _TOPIC: str(message.topic)}
    # SQS takes no attribute without a value.
    texts = {name: text for name, text in texts.items() if text}
    size = len(message.body.encode()) + sum(len(f"{name}String{text}".encode()) for name, text in texts.items())
    return texts if size <= LARGEST else {}


def redriven(topic: Topic, raw: MessageTypeDef) -> tuple[str, Mapping[str, str]]:
    """Body and attributes of the fresh message that a dead letter becomes: its name goes with it."""
    name, body = _name_and_body(topic, raw["MessageId"], raw["Body"], _texts(raw))
    return body, {ID: name}


def _name_and_body(topic: Topic, message_id: str, body: str, texts: Mapping[str, str]) -> tuple[str, str]:
    """EventBridge, as a sender of submissions, wraps the spec into an event. It may deliver an event twice, as two
    messages, so that the event's own id is the better name."""
    event = _event(body) if topic is Topic.SUBMIT else None
    if event is None:
        return texts.get(ID) or message_id, body
    return texts.get(ID) or str(event["id"]), json.dumps(event["detail"], ensure_ascii=False)


def _event(body: str) -> Mapping[str, Any] | None:
    if '"detail-type"' not in body:
        return None
    try:
        document = json.loads(body)
    except ValueError:
        return None
    return document if isinstance(document, dict) and document.keys() >= _EVENT else None


def _texts(raw: MessageTypeDef) -> Mapping[str, str]:
    attributes = raw.get("MessageAttributes", {})
    return {name: value["StringValue"] for name, value in attributes.items() if "StringValue" in value}
