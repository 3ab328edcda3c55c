"""Waiting on several queues at once, where each can only be asked alone, by a call that takes up to 20 seconds.

Such a call cannot be taken back: what it finds after its caller has gone with a message of another queue is in flight.
Were it given back each time, a busy queue would wear out the deliveries of a quiet one's messages. So at most one call
is open per queue, it belongs to nobody, and what it finds goes to whoever asks next.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from math import ceil
from threading import Condition, Thread

from slipway.model import Message, Topic

LONGEST_POLL = 20
"""Seconds.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html"""

Poll = Callable[[Topic, int, int], Sequence[Message]]
"""(topic, limit, seconds to wait) → what was found."""


class Waiting:
    """Safe for use by several threads. `keep`: seconds for which a message waits here for somebody who asks; after
    that it is left to its visibility timeout, which gives it to another process."""

    def __init__(self, poll: Poll, keep: float) -> None:
        self._poll = poll
        self._keep = keep
        self._changed = Condition()
        self._open: set[Topic] = set()
        self._found: list[tuple[Message, float]] = []
        self._failed: dict[Topic, Exception] = {}
        self._wanted = 0

    def found(self, topics: Sequence[Topic], limit: int) -> list[Message]:
        """What earlier calls have found, the first first."""
        with self._changed:
            return self._taken(topics, limit)

    def take(self, topics: Sequence[Topic], limit: int, wait: float) -> list[Message]:
        """Up to `limit` messages as soon as there is one, or none after `wait` seconds. Raises what a call raised."""
        give_up = time.monotonic() + wait
        with self._changed:
            self._wanted += limit
            try:
                while True:
                    messages = self._taken(topics, limit)
                    left = give_up - time.monotonic()
                    if messages or left <= 0:
                        return messages
                    for topic in topics:
                        if topic in self._failed:
                            raise self._failed.pop(topic)
                        self._ask(topic, left)
                    self._changed.wait(left)
            finally:
                self._wanted -= limit
                if not self._wanted:
                    self._failed.clear()

    def _taken(self, topics: Sequence[Topic], limit: int) -> list[Message]:
        now = time.monotonic()
        fresh = [(message, until) for message, until in self._found if until > now]
        taken = [message for message, _ in fresh if message.topic in topics][:limit]
        self._found = [(message, until) for message, until in fresh if message not in taken]
        return taken

    def _ask(self, topic: Topic, left: float) -> None:
        if topic not in self._open:
            self._open.add(topic)
            seconds = min(ceil(left), LONGEST_POLL)
            Thread(target=self._call, args=(topic, self._wanted, seconds), name=f"wait-{topic}", daemon=True).start()

    def _call(self, topic: Topic, limit: int, seconds: int) -> None:
        found: Sequence[Message] = ()
        failed: Exception | None = None
        try:
            found = self._poll(topic, limit, seconds)
        except Exception as error:
            failed = error
        until = time.monotonic() + self._keep
        with self._changed:
            self._open.discard(topic)
            self._found += [(message, until) for message in found]
            # Where nobody waits any more, the next who asks finds out anew.
            if failed is not None and self._wanted:
                self._failed[topic] = failed
            self._changed.notify_all()
