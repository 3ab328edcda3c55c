"""What a watcher tells becomes messages: the events of a cluster that sends none by itself.

For a deployment elsewhere whose runs are in a cluster. It may be absent, or down: the tick looks all the same.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from slipway.errors import SlipwayError
from slipway.model import Changed, Topic
from slipway.ports import Bus

log = logging.getLogger(__name__)


def forward(changes: Sequence[Changed], bus: Bus) -> Sequence[Changed]:
    """Sends the item of each. Returns those that could not be sent, to be tried again with the next."""
    left = []
    for changed in dict.fromkeys(changes):
        if changed.item_id is None:
            continue
        try:
            bus.send(Topic.ADVANCE, changed.item_id)
        except SlipwayError as error:
            log.warning("item %s cannot be sent: %s", changed.item_id, error.message)
            left.append(changed)
    return left
