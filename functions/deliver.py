"""One message of the bus, to the function it is for. What fails is delivered again, or buried where that is no use."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable

from slipway.admission import admit
from slipway.errors import Permanent, SlipwayError
from slipway.functions.advance import advance
from slipway.functions.build import build
from slipway.functions.submit import submit
from slipway.model import Message, QueueKey, Topic
from slipway.ports import Ports

log = logging.getLogger(__name__)


def deliver(message: Message, ports: Ports) -> bool:
    """True when the message is done and may be acknowledged; False when it was handed back or buried here."""
    try:
        _HANDLERS[message.topic](message, ports)
    except Permanent as error:
        log.warning("%s %s: %s", message.topic, message.body[:64], error.message)
        ports.bus.bury(message, error.message)
        return False
    except SlipwayError as error:
        log.warning("%s %s: %s; again later", message.topic, message.body[:64], error.message)
        ports.bus.retry(message, error.message, delay=_delay(error, message.received))
        return False
    return True


def delivered(message: Message, ports: Ports) -> bool:
    """As `deliver`, and what fails in a way that nobody foresaw is logged and handed back too: a bug costs one message
    its turn, and in the end its place, and no other anything."""
    try:
        return deliver(message, ports)
    except Exception as error:
        log.exception("%s %s failed in a way that nobody foresaw", message.topic, message.body[:64])
        ports.bus.retry(message, f"{type(error).__name__}: {error}", delay=_delay(error, message.received))
        return False


def _submit(message: Message, ports: Ports) -> None:
    try:
        document = json.loads(message.body)
    except (ValueError, RecursionError) as error:
        raise Permanent(f"not JSON: {error}") from error
    if not isinstance(document, dict):
        raise Permanent(f"a launch spec is a JSON object, not {type(document).__name__}")
    if message.id and document.get("idempotency_key") is None:
        # The item may be stored and this message delivered again: it must not become a second one.
        document = {**document, "idempotency_key": f"message {message.id}"}
    submit(document, ports)


def _advance(message: Message, ports: Ports) -> None:
    entity, slash, queue = message.body.partition("/")
    if slash:
        admit(QueueKey(entity, queue), ports)
    else:
        advance(message.body, ports)


def _build(message: Message, ports: Ports) -> None:
    build(message.body, ports)


def _delay(error: Exception, received: int) -> float:
    """What the other side asked for, else a wait that doubles from one second to a minute."""
    asked = getattr(error, "retry_after", None)
    return float(asked) if asked is not None else min(2.0 ** (received - 1), 60.0)


_HANDLERS: dict[Topic, Callable[[Message, Ports], None]] = {
    Topic.SUBMIT: _submit,
    Topic.ADVANCE: _advance,
    Topic.BUILD: _build,
}
