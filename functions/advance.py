"""An item is taken one step on, and whoever that lets in."""

from __future__ import annotations

from slipway.admission import admit
from slipway.model import Item
from slipway.ports import Ports
from slipway.step import step


def advance(item_id: str, ports: Ports) -> Item | None:
    """The item as it is afterwards; None when there is no such item.

    Where there is a line, its head is looked at afterwards: a slot may be free. That holds for a second delivery
    of the same message too, so a wake-up lost in a crash comes again with the message.
    """
    item = step(item_id, ports)
    if item is not None and (item.capped or item.waiting):
        admit(item.queue, ports)
    return item
