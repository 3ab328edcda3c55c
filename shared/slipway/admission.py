"""Who may start next: the head of the line, while the queue has a free slot.

A slot is taken and given back in the same guarded write that moves its item, so a slot without its item, or
the other way round, cannot exist. What remains to be done here is to wake the head when a slot may be free.
"""

from __future__ import annotations

from slipway.model import QueueKey, Topic
from slipway.ports import Ports
from slipway.step import take_step

BURST = 50
"""Heads stepped in one call. The rest goes on in another: a message that names the queue."""


def admit(key: QueueKey, ports: Ports) -> None:
    """Steps the head of the line until it stays where it is: no slot, queue paused, or nobody waits.

    Costs one indexed read for a look, whatever the number of items. Safe at any time and any number of times.
    """
    for _ in range(BURST):
        head = ports.store.head(key)
        if head is None or take_step(head, ports).waiting:
            return
    ports.bus.send(Topic.ADVANCE, str(key))
