"""moto's SQS on a clock that a test moves, and mended in the two things that SQS does otherwise.

moto runs in a thread of this process: what is changed here is the stand-in, and nothing of boto3 or of ours.

- A receipt ends with the next delivery. moto takes any that a message ever had; of SQS's DeleteMessage its page says
  "If you use an old ReceiptHandle, the request will succeed, but the message might not be deleted".
- Two calls at the same time: moto looks and then marks, so that two receivers could be handed one message, and it
  deletes from a copy of the list, so that a message sent meanwhile could be lost.

An empty long poll, of which there are many in these tests, passes 20 times as fast as its seconds say.
"""

from __future__ import annotations

import itertools
import time
from typing import Any

import pytest
from moto.sqs import models
from moto.sqs.exceptions import ReceiptHandleIsInvalid

from slipway.adapters.memory.clock import MemoryClock

FASTER = 20.0


def clock_of_sqs(monkeypatch: pytest.MonkeyPatch) -> MemoryClock:
    """The clock by which moto's SQS hides and delays messages until the test is over."""
    start = time.time()
    clock = MemoryClock(start)
    looks = itertools.count(1)
    receive, wait = models.SQSBackend.receive_message, models.Queue.wait_for_messages

    def milliseconds() -> float:
        # A microsecond more each time: moto shows a message only after the moment up to which it is hidden.
        return clock.now() * 1000 + next(looks) / 1000

    def alone(backend: Any, queue_name: str, *args: Any, **options: Any) -> Any:
        # The lock is given up wherever moto waits for a message.
        with backend.get_queue(queue_name)._messages_lock:
            return receive(backend, queue_name, *args, **options)

    monkeypatch.setattr(models, "unix_time_millis", milliseconds)
    monkeypatch.setattr(models, "unix_time", lambda: start + (time.time() - start) * FASTER)
    monkeypatch.setattr(models.Queue, "wait_for_messages", lambda queue, timeout: wait(queue, timeout / FASTER))
    monkeypatch.setattr(models.SQSBackend, "receive_message", alone)
    monkeypatch.setattr(models.Message, "had_receipt_handle", _is_latest)
    monkeypatch.setattr(models.Queue, "delete_message", _delete)
    return clock


def _is_latest(message: models.Message, receipt: str) -> bool:
    return message.receipt_handle == receipt


def _delete(queue: models.Queue, receipt: str) -> None:
    with queue._messages_lock:
        known = receipt in queue.deleted_messages or any(
            receipt in message.all_receipt_handles for message in queue._messages
        )
        if not known:
            raise ReceiptHandleIsInvalid
        for message in [message for message in queue._messages if _is_latest(message, receipt)]:
            queue._messages.remove(message)
            queue.pending_messages.discard(message)
            queue.deleted_messages.update(filter(None, message.all_receipt_handles))
