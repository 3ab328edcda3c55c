"""Something changed in the world: the items concerned look again."""

from __future__ import annotations

from slipway.errors import SlipwayError
from slipway.functions.advance import advance
from slipway.model import Changed
from slipway.ports import Ports


def observe(changed: Changed, ports: Ports) -> None:
    """Steps the item whose run changed, and every item that waits for the image whose build changed.

    The event's payload is not believed: it says where to look. Raises the last error, after all were stepped.
    """
    items = [changed.item_id] if changed.item_id is not None else []
    if changed.image is not None:
        items.extend(ports.store.wanting(changed.image))
    failure: SlipwayError | None = None
    for item_id in items:
        try:
            advance(item_id, ports)
        except SlipwayError as error:
            failure = error
    if failure is not None:
        raise failure
