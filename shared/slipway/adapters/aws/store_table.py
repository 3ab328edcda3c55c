"""The Store's table: what lies under which key, and its indexes.

One table holds every kind of record, told apart by the partition key:

    pk                      sk              what
    item#<id>               item            an item
    key#<sha256>            key             which item an idempotency key (of an entity) made
    queues                  entity␟name     a queue
    slots                   entity␟name     who holds a slot of that queue, and its cap; apart from the queue, so that
                                            an admission does not write a large config anew
    build#<image>           build           a build
    api-keys                digest          an API key

Indexes are sparse: a record is in one only while it has that index's attributes, so a question costs as much as its
answer, whatever else is in the table.

    index     partition         sort           in it
    line      line              line_place     items that wait for a slot: owner␟queue␟priority␟id␟
    due       due               due_place      items that have a `due`: its bits as hex, then the id
    building  building          –              items in `building`: the image
    entity    entity_listing    listing_id     every item: entity␟group, id
    all       listing           listing_id     every item: group, id; every build: `builds`, when first wanted

The group is `open` while an item is not over, then the state it ended in.
"""

from __future__ import annotations

import hashlib
import json
import struct
from typing import TYPE_CHECKING, Any, Literal

from slipway.errors import Invalid, Problem
from slipway.model import Item, QueueKey, State

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef, CreateTableInputTypeDef

Attributes = dict[str, "AttributeValueTypeDef"]
"""A record, or its key, as DynamoDB takes and gives it."""

EXPIRES = "expires"
"""The attribute of the table's time to live, in seconds since the epoch. A record without it stays."""
OPEN = "open"
"""The group of the items that are not over."""
BUILDS = "builds"
SEPARATOR = "\x1f"
AFTER = "\x20"
"""Sorts right after the separator: a key that ends in it comes after all keys that go on from there."""

_STRINGS = ("pk", "sk", "line", "line_place", "due", "due_place", "building", "entity_listing", "listing", "listing_id")


def table_definition(name: str) -> CreateTableInputTypeDef:
    """What `create_table` takes. Time to live (`EXPIRES`), encryption and recovery are the deployment's."""
    return {
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": attribute, "AttributeType": "S"} for attribute in _STRINGS],
        "KeySchema": _schema("pk", "sk"),
        "GlobalSecondaryIndexes": [
            _index("line", "line", "line_place"),
            _index("due", "due", "due_place"),
            _index("building", "building"),
            _index("entity", "entity_listing", "listing_id", projects=("in_queue", "in_state")),
            _index("all", "listing", "listing_id", projects=("in_queue", "in_state")),
        ],
    }


def item_key(item_id: str) -> Attributes:
    return _key(f"item#{item_id}", "item")


def item_id_of(key: Attributes) -> str:
    return key["pk"]["S"].removeprefix("item#")


def idempotency_record_key(entity: str, idempotency_key: str) -> Attributes:
    """A hash, for both may be longer than a key of the table."""
    digest = hashlib.sha256(json.dumps([entity, idempotency_key]).encode()).hexdigest()
    return _key(f"key#{digest}", "key")


def queue_record_key(key: QueueKey) -> Attributes:
    return _key("queues", joined(*key))


def slots_key(key: QueueKey) -> Attributes:
    return _key("slots", joined(*key))


def queue_of(record: Attributes) -> QueueKey:
    """Of the key of a queue, or of its slots."""
    return QueueKey(*record["sk"]["S"].split(SEPARATOR))


def build_key(image: str) -> Attributes:
    return _key(f"build#{image}", "build")


def api_key_key(digest: str) -> Attributes:
    return _key("api-keys", digest)


def place_in_line(item: Item) -> str:
    """Sorts by queue, then priority, then id. The last separator makes "before this item" a range: it is what comes
    before the same place without it."""
    return joined(*item.queue, f"{item.priority:04d}", item.id, "")


def place_of_due(due: float) -> str:
    """Sorts as the number does, exactly: the bits of a double that is not negative count up with it."""
    return struct.pack(">d", max(due, 0.0) + 0.0).hex()


def group_of(state: State) -> str:
    return str(state) if state.terminal else OPEN


def index_attributes(item: Item) -> Attributes:
    """Those a save may change, and only those of the indexes that it is in."""
    group = group_of(item.state)
    found: Attributes = {
        "entity_listing": text(joined(item.submission.entity, group)),
        "listing": text(group),
        "in_state": text(item.state),
    }
    if item.waiting:
        found |= {"line": text("line"), "line_place": text(place_in_line(item))}
    if item.due is not None:
        found |= {"due": text("due"), "due_place": text(joined(place_of_due(item.due), item.id))}
    if item.state is State.BUILDING and item.image:
        found["building"] = text(item.image)
    return found


def joined(*parts: str) -> str:
    """Raises Invalid where a part has the separator in it: it would be taken for another key."""
    for part in parts:
        if SEPARATOR in part:
            raise Invalid(Problem("name", "has the control character U+001F in it", part, "Take it out."))
    return SEPARATOR.join(parts)


def text(value: str) -> AttributeValueTypeDef:
    return {"S": str(value)}


def number(value: int) -> AttributeValueTypeDef:
    return {"N": str(value)}


def _key(partition: str, sort: str) -> Attributes:
    return {"pk": text(partition), "sk": text(sort)}


def _schema(partition: str, sort: str | None = None) -> Any:
    keys: list[tuple[str, Literal["HASH", "RANGE"]]] = [(partition, "HASH")]
    if sort is not None:
        keys.append((sort, "RANGE"))
    return [{"AttributeName": attribute, "KeyType": kind} for attribute, kind in keys]


def _index(name: str, partition: str, sort: str | None = None, projects: tuple[str, ...] = ()) -> Any:
    projection = {"ProjectionType": "INCLUDE", "NonKeyAttributes": list(projects)}
    return {
        "IndexName": name,
        "KeySchema": _schema(partition, sort),
        "Projection": projection if projects else {"ProjectionType": "KEYS_ONLY"},
    }
