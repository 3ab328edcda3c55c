"""An item as a record of DynamoDB, and back.

Its two JSON texts (see `slipway.records`) are two attributes. A record holds at most 400 KB: a text over `LARGE` goes
to Blobs, and the record names where. Each text is judged by itself, so that a save need not know how large the other
is, and never touches what was submitted.
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from slipway.adapters.aws.store_table import EXPIRES, Attributes, index_attributes, number, text
from slipway.errors import Permanent
from slipway.records import changing_part, item_from_json, submitted_part

if TYPE_CHECKING:
    from slipway.model import Item
    from slipway.ports import Blobs

LARGE = 128 * 1024
"""Bytes of one of the two texts: both, and the attributes of the indexes, fit into a record."""
CHANGING = (
    *("version", "saved_by", "body", "body_blob", "line", "line_place", "due", "due_place", "building"),
    *("entity_listing", "listing", "in_state", EXPIRES),
)
"""What a save sets, or removes where the item has none of it."""


class ItemRecords:
    """`keep` is for how many seconds an item stays after its end."""

    def __init__(self, blobs: Blobs, keep: float) -> None:
        self._blobs = blobs
        self._keep = keep

    def created(self, item: Item) -> Attributes:
        """All attributes of a new item but its key and its version. What is large goes to Blobs here."""
        fixed: Attributes = {"listing_id": text(item.id), "in_queue": text(item.submission.queue)}
        return fixed | self._kept(item.id, "submitted", submitted_part(item)) | self.changed(item)

    def changed(self, item: Item) -> Attributes:
        """Those of `CHANGING` that the item has, but its version. What is large goes to Blobs here."""
        found = self._kept(item.id, "body", changing_part(item)) | index_attributes(item)
        if item.ended_at is not None and item.state.terminal:
            found[EXPIRES] = number(round(item.ended_at + self._keep))
        return found

    def item(self, record: Attributes) -> Item:
        """Raises Permanent where a part of it that was in Blobs is gone."""
        return item_from_json(self._text(record, "submitted") + self._text(record, "body"))

    def _kept(self, item_id: str, part: str, content: str) -> Attributes:
        encoded = content.encode()
        if len(encoded) <= LARGE:
            return {part: text(content)}
        where = f"items/{item_id}/{hashlib.sha256(encoded).hexdigest()}"
        self._blobs.put(where, encoded)
        return {f"{part}_blob": text(where)}

    def _text(self, record: Attributes, part: str) -> str:
        if part in record:
            return record[part]["S"]
        where = record[f"{part}_blob"]["S"]
        content = self._blobs.get(where)
        if content is None:
            raise Permanent(
                f"A part of an item that was too large for its record is gone: there is no blob '{where}'. "
                "Check that no lifecycle rule of the bucket expires `items/` while the item is kept."
            )
        return content.decode()
