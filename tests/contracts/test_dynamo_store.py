"""The store on DynamoDB: the contract over the real boto3, and what only DynamoDB has: calls that are paid one by one,
records with a largest size, indexes that follow after a moment, answers that are lost."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.httpsession import URLLib3Session
from hypothesis import given
from hypothesis import strategies as st
from tests.contracts.store_contract import GPU, MakeStore, StoreContract, a_queue, an_item
from tests.standins.aws.moto_server import unique

from slipway.adapters.aws.store import LARGEST_QUEUE, DynamoStore
from slipway.adapters.aws.store_calls import TRIES
from slipway.adapters.aws.store_records import LARGE
from slipway.adapters.aws.store_table import Attributes, item_key, place_of_due, table_definition, text
from slipway.adapters.memory.blobs import MemoryBlobs
from slipway.errors import Invalid, NoSlot, NotFound, Permanent, Refused, Stale
from slipway.model import Build, Item, QueueKey, Slot, State
from slipway.records import changing_part

if TYPE_CHECKING:
    from slipway.adapters.aws.clients import Clients


class TestDynamoStore(StoreContract):
    examples = 25

    @pytest.fixture
    def make_store(self, aws: Clients) -> MakeStore:
        return lambda: DynamoStore(aws, a_table(aws), MemoryBlobs())


def a_table(aws: Clients) -> str:
    name = unique("slipway")
    aws.dynamodb.create_table(**table_definition(name))
    return name


@pytest.fixture
def table(aws: Clients) -> str:
    return a_table(aws)


@pytest.fixture
def blobs() -> MemoryBlobs:
    return MemoryBlobs()


@pytest.fixture
def store(aws: Clients, table: str, blobs: MemoryBlobs) -> DynamoStore:
    return DynamoStore(aws, table, blobs)


# --- what is paid for
def test_each_write_is_one_call_and_no_question_is_a_scan(aws: Clients, store: DynamoStore) -> None:
    """Design §2: admission costs the same with 100 or 1,000,000 items in the store."""
    store.save_queue(a_queue(1))
    with counted(aws) as calls:
        item = store.create(an_item("01a", image="x", due=1.0))
    assert calls == {"UpdateItem": 1}
    with counted(aws) as calls:
        store.create(an_item("01b", key="k", image="x", due=1.0))
    assert calls == {"TransactWriteItems": 1}
    with counted(aws) as calls:
        item = store.save(item)
    assert calls == {"UpdateItem": 1}
    with counted(aws) as calls:
        item = store.save(replace(item, state=State.STARTING), Slot.ACQUIRE)
    assert calls == {"TransactWriteItems": 1}
    with counted(aws) as calls, pytest.raises(NoSlot):
        store.save(replace(item, id="01b", version=1, state=State.STARTING), Slot.ACQUIRE)
    assert calls == {"TransactWriteItems": 1}
    with counted(aws) as calls, pytest.raises(Stale):
        store.save(replace(item, version=1))
    assert calls == {"UpdateItem": 1}
    with counted(aws) as calls:
        assert store.head(GPU)
    assert calls == {"Query": 1, "GetItem": 1}
    with counted(aws) as calls:
        store.save(replace(item, state=State.FINISHED, due=None), Slot.RELEASE)
    assert calls == {"TransactWriteItems": 1}
    with counted(aws) as calls:
        store.queue(GPU), store.item("01a"), store.slots(GPU), store.build("x"), store.key("d" * 64)
    assert calls == {"GetItem": 5}
    with counted(aws) as calls:
        store.ahead(item), store.due(2.0), store.wanting("x"), store.held(), store.queues("team"), store.keys()
    assert calls == {"Query": 6}
    with counted(aws) as calls:
        assert len(store.items("team", states=[State.FINISHED])) == 1
    assert calls == {"Query": 1, "BatchGetItem": 1}


def test_crowded_asks_once_for_each_queue_however_long_its_line(aws: Clients, store: DynamoStore) -> None:
    for n in range(9):
        store.create(an_item(f"01{n}", queue=f"q{n % 3}", image="x"))
    with counted(aws) as calls:
        assert len(store.crowded()) == 3
    assert calls == {"Query": 4}


def test_a_save_pays_for_the_indexes_that_change_and_no_others(aws: Clients, table: str, store: DynamoStore) -> None:
    store.save_queue(a_queue(1))
    item = store.create(an_item("01a", image="x", due=1.0))
    paid = []
    for change, slot in [
        ({"reason": "no slot"}, Slot.KEEP),
        ({"due": 2.0}, Slot.KEEP),
        ({"state": State.STARTING, "due": 3.0}, Slot.ACQUIRE),
        ({"state": State.RUNNING, "due": 4.0}, Slot.KEEP),
        ({"state": State.FINISHED, "due": None, "ended_at": 5.0}, Slot.RELEASE),
    ]:
        before = stored(aws, table, item.id)
        item = store.save(replace(item, **change), slot)
        paid.append(index_writes(before, stored(aws, table, item.id)))
    assert paid == [
        {},
        {"due": 2},
        {"due": 2, "line": 1, "entity": 1, "all": 1},
        {"due": 2, "entity": 1, "all": 1},
        {"due": 1, "entity": 2, "all": 2},
    ]


def test_an_item_is_kept_for_a_while_after_its_end_and_no_live_item_expires(
    aws: Clients, table: str, blobs: MemoryBlobs
) -> None:
    store = DynamoStore(aws, table, blobs, keep=1000.0)
    item = store.create(an_item("01a", key="k"))
    assert "expires" not in stored(aws, table, "01a")
    item = store.save(replace(item, state=State.FINISHED, ended_at=50.6))
    assert stored(aws, table, "01a")["expires"] == {"N": "1051"}
    store.save(replace(item, state=State.RUNNING, ended_at=None))
    assert "expires" not in stored(aws, table, "01a")
    (key,) = [record for record in records(aws, table) if record["pk"]["S"].startswith("key#")]
    assert key["expires"] == {"N": "1001"}


# --- records have a largest size
def test_a_large_submission_is_uploaded_once_and_what_changes_each_time(
    aws: Clients, table: str, store: DynamoStore, blobs: MemoryBlobs
) -> None:
    item = store.create(replace(an_item(), resource_args={"script": "zeile ß\n" * 120_000}))
    first = stored(aws, table, item.id)
    assert "submitted" not in first
    assert size(first) < 10_000
    uploaded = blobs.get(first["submitted_blob"]["S"])
    assert uploaded is not None
    assert len(uploaded) > 1_000_000
    blobs.put(first["submitted_blob"]["S"], uploaded.replace(b"kubernetes", b"KUBERNETES"))
    item = store.save(replace(item, reason="saved"))
    loaded = store.item(item.id)
    assert loaded is not None
    assert loaded.resource == "KUBERNETES", "the save has uploaded it again"

    item = store.save(replace(item, metrics={"log": "x" * 1_000_000}))
    assert "body" not in stored(aws, table, item.id)
    item = store.save(replace(item, metrics={}))
    assert "body_blob" not in stored(aws, table, item.id)
    loaded = store.item(item.id)
    assert loaded is not None
    assert (loaded.version, loaded.metrics) == (4, {})


def test_the_largest_item_without_a_blob_fits_into_a_record(
    aws: Clients, table: str, store: DynamoStore, blobs: MemoryBlobs
) -> None:
    room = LARGE - 2_000
    item = replace(an_item(image="x", due=1.0), resource_args={"a": "x" * room}, metrics={"b": "x" * room})
    item = store.save(store.create(item))
    assert {"submitted", "body"} <= stored(aws, table, item.id).keys()
    assert 2 * room < size(stored(aws, table, item.id)) < 400_000
    assert store.item(item.id) == item


def test_a_stale_save_of_a_large_item_carries_the_current_one(store: DynamoStore) -> None:
    loaded = store.create(an_item(metrics={"log": "x" * 1_000_000}))
    current = store.save(replace(loaded, reason="first"))
    with pytest.raises(Stale) as stale:
        store.save(replace(loaded, reason="second"))
    assert stale.value.current == current


def test_a_blob_that_is_gone_is_said(aws: Clients, table: str, store: DynamoStore) -> None:
    store.create(an_item(metrics={"log": "x" * 1_000_000}))
    elsewhere = DynamoStore(aws, table, MemoryBlobs())
    with pytest.raises(Permanent, match=r"there is no blob 'items/01a/[0-9a-f]{64}'. Check that no lifecycle rule"):
        elsewhere.item("01a")


def test_a_queue_that_no_record_can_hold_is_refused(store: DynamoStore) -> None:
    with pytest.raises(Invalid, match="config: makes the queue larger than 350 KB"):
        store.save_queue(replace(a_queue(1), config={"a": "x" * LARGEST_QUEUE}))
    large = store.save_queue(replace(a_queue(1), config={"a": "x" * (LARGEST_QUEUE - 2_000)}))
    assert store.queue(GPU) == large


def test_answers_of_many_pages_are_whole(aws: Clients, store: DynamoStore) -> None:
    """A page ends at a megabyte."""
    ids = [f"01{n:02}" for n in range(25)]
    for item_id in ids:
        store.create(an_item(item_id, state=State.BUILDING, image="x", due=1.0, metrics={"log": "x" * 100_000}))
    for ask in (
        lambda: store.due(1.0),
        lambda: store.wanting("x"),
        lambda: [item.id for item in store.items()][::-1],
        lambda: [item.id for item in store.items(queue="gpu", states=[State.BUILDING])][::-1],
    ):
        with counted(aws) as calls:
            assert ask() == ids
        assert calls["Query"] > 2


# --- indexes follow after a moment
def test_the_head_is_never_an_item_that_has_left_the_line(aws: Clients, table: str, store: DynamoStore) -> None:
    first, second, third = [store.create(an_item(f"01{n}", image="x")) for n in range(3)]
    behind_its_index(aws, table, replace(first, state=State.STARTING))
    behind_its_index(aws, table, replace(second, priority=3))
    assert store.head(GPU) == third
    behind_its_index(aws, table, replace(third, state=State.STOPPED))
    assert store.head(GPU) is None


def test_a_listing_shows_items_as_they_are_and_is_filled_up_for_those_that_left(
    aws: Clients, table: str, store: DynamoStore
) -> None:
    items = [store.create(an_item(f"01{n}", state=State.RUNNING)) for n in range(6)]
    for item in items[2:5]:
        behind_its_index(aws, table, replace(item, state=State.FAILED))
    listed = store.items(states=[State.RUNNING], limit=2)
    assert [item.id for item in listed] == ["015", "011"]
    assert [item.state for item in store.items(limit=2)] == [State.RUNNING, State.FAILED]


# --- keys of the table
def test_a_queue_whose_name_begins_as_anothers_has_its_own_line(store: DynamoStore) -> None:
    names = ["gpu", "gpu 2", "gpu-big", "gpu.", "gp"]
    items = [store.create(an_item(f"01{n}", queue=name, image="x")) for n, name in enumerate(names)]
    assert store.crowded() == sorted(QueueKey("team", name) for name in names)
    assert [store.head(item.queue) for item in items] == items
    assert [store.ahead(item) for item in items] == [0] * 5


@pytest.mark.parametrize("name", ["a\x1fb", "\x1f"])
def test_a_name_with_the_separator_of_keys_in_it_is_refused(store: DynamoStore, name: str) -> None:
    with pytest.raises(Invalid, match=r"name: has the control character U\+001F in it"):
        store.save_queue(a_queue(1, QueueKey("team", name)))
    with pytest.raises(Invalid, match=r"U\+001F"):
        store.create(an_item(entity=name))


def test_what_has_no_name_is_not_looked_for(aws: Clients, store: DynamoStore) -> None:
    """DynamoDB refuses an empty string in the key of an index."""
    store.create(an_item(state=State.BUILDING, image=""))
    with counted(aws) as calls:
        assert list(store.wanting("")) == []
        assert list(store.items(before="")) == []
    assert calls == {}


@given(st.floats(0, allow_nan=False), st.floats(0, allow_nan=False))
def test_places_of_due_sort_as_the_numbers(first: float, second: float) -> None:
    assert (place_of_due(first) < place_of_due(second)) == (first < second)
    assert (place_of_due(first) == place_of_due(second)) == (first == second)
    assert place_of_due(-0.0) == place_of_due(0.0)


def test_a_key_whose_item_has_expired_is_free_again(aws: Clients, table: str, store: DynamoStore) -> None:
    store.create(an_item("01a", key="k"))
    aws.dynamodb.delete_item(TableName=table, Key=item_key("01a"))
    assert store.known("team", "k") is None
    again = store.create(an_item("01b", key="k"))
    assert again.id == "01b"
    assert store.create(an_item("01c", key="k")) == again
    assert store.known("team", "k") == again


def test_a_cap_that_is_lifted_lets_everybody_in_and_one_that_comes_back_counts_who_is_there(store: DynamoStore) -> None:
    queue = store.save_queue(a_queue(1))
    store.save(store.create(an_item("01a")), Slot.ACQUIRE)
    queue = store.save_queue(replace(queue, max_jobs=-1))
    store.save(store.create(an_item("01b")), Slot.ACQUIRE)
    assert store.slots(GPU) == {"01a.1"}
    store.save_queue(replace(queue, max_jobs=1))
    with pytest.raises(NoSlot):
        store.save(store.create(an_item("01c")), Slot.ACQUIRE)


# --- what goes wrong on the way
@pytest.mark.parametrize(
    ("operation", "work"),
    [
        ("UpdateItem", lambda store: store.create(an_item("01b"))),
        ("UpdateItem", lambda store: store.save(store.item("01a"))),
        ("UpdateItem", lambda store: store.save_build(Build("x", "docker"))),
    ],
    ids=["create", "save", "save_build"],
)
def test_a_write_whose_answer_was_lost_is_not_taken_for_somebody_elses(
    aws: Clients, store: DynamoStore, operation: str, work: Callable[[DynamoStore], Item | Build]
) -> None:
    """boto3 sends it again, and the second one meets what the first one wrote."""
    store.create(an_item("01a"))
    with answered(aws, operation, _lost) as times:
        saved = work(store)
    assert times == [operation] * 2
    assert saved in (store.item("01a"), store.item("01b"), store.build("x"))


def test_a_lost_race_is_lost_also_when_its_answer_was(aws: Clients, store: DynamoStore) -> None:
    loaded = store.create(an_item("01a"))
    current = store.save(replace(loaded, reason="theirs"))
    with answered(aws, "UpdateItem", _lost), pytest.raises(Stale) as stale:
        store.save(replace(loaded, reason="ours"))
    assert stale.value.current == current


@pytest.mark.parametrize("slot", [Slot.KEEP, Slot.ACQUIRE])
def test_a_write_that_meets_another_transaction_is_tried_again(aws: Clients, store: DynamoStore, slot: Slot) -> None:
    store.save_queue(a_queue(1))
    item = store.create(an_item())
    operation, conflict = CONFLICTS[slot]
    with answered(aws, operation, conflict, conflict) as times:
        saved = store.save(item, slot)
    assert len(times) == 3
    assert store.item("01a") == saved


@pytest.mark.parametrize("slot", [Slot.KEEP, Slot.ACQUIRE])
def test_one_that_meets_others_each_time_is_refused_for_now(aws: Clients, store: DynamoStore, slot: Slot) -> None:
    store.save_queue(a_queue(1))
    item = store.create(an_item())
    operation, conflict = CONFLICTS[slot]
    refusal = r"cannot save an item.*: other transactions on the same record were in the way 8 times"
    with answered(aws, operation, *[conflict] * TRIES), pytest.raises(Refused, match=refusal):
        store.save(item, slot)
    assert store.item("01a") == item


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("ThrottlingError", Refused),
        ("ProvisionedThroughputExceeded", Refused),
        ("ValidationError", Permanent),
    ],
)
def test_what_cancelled_a_transaction_is_said(
    aws: Clients, store: DynamoStore, code: str, kind: type[Exception]
) -> None:
    store.save_queue(a_queue(1))
    item = store.create(an_item())
    reason = rf"cannot save an item and take a slot: .*in DynamoDB's words \({code}\)"
    with answered(aws, "TransactWriteItems", _cancelled("None", code)), pytest.raises(kind, match=reason):
        store.save(item, Slot.ACQUIRE)
    assert store.item("01a") == item


def test_what_a_batch_left_out_is_asked_for_again(aws: Clients, store: DynamoStore) -> None:
    items = [store.create(an_item(f"01{n}")) for n in range(3)]
    cut: list[Any] = []

    def leave_out(parsed: dict[str, Any], **_: Any) -> None:
        ((table, found),) = parsed["Responses"].items()
        if len(cut) < 2:
            left = found[len(cut) :]
            parsed["Responses"] = {table: found[: len(cut)]}
            keys = [{"pk": record["pk"], "sk": record["sk"]} for record in left]
            parsed["UnprocessedKeys"] = {table: {"Keys": keys, "ConsistentRead": True}}
            cut.append(left)

    aws.dynamodb.meta.events.register("after-call.dynamodb.BatchGetItem", leave_out)
    assert store.items() == items[::-1]
    assert [len(left) for left in cut] == [3, 2]


def test_a_missing_table_is_said(aws: Clients) -> None:
    store = DynamoStore(aws, unique("none"), MemoryBlobs())
    for work in (lambda: store.item("01a"), lambda: store.create(an_item()), lambda: store.crowded()):
        with pytest.raises(NotFound, match=r"^cannot "):
            work()


def test_the_body_is_the_shared_record(aws: Clients, table: str, store: DynamoStore) -> None:
    item = store.create(an_item(reason="zu groß 🚢"))
    record = stored(aws, table, item.id)
    body = json.loads(record["submitted"]["S"] + record["body"]["S"])
    assert (body["id"], body["version"], body["reason"]) == (item.id, 1, "zu groß 🚢")


# --- looking at and meddling with the table
def stored(aws: Clients, table: str, item_id: str) -> Attributes:
    return aws.dynamodb.get_item(TableName=table, Key=item_key(item_id), ConsistentRead=True)["Item"]


def records(aws: Clients, table: str) -> list[Attributes]:
    return aws.dynamodb.scan(TableName=table)["Items"]


def behind_its_index(aws: Clients, table: str, item: Item) -> None:
    """Saves the item as it is to be, and leaves it in the indexes as it was."""
    aws.dynamodb.update_item(
        TableName=table,
        Key=item_key(item.id),
        UpdateExpression="SET body = :body",
        ExpressionAttributeValues={":body": text(changing_part(item))},
    )


def size(record: Attributes) -> int:
    """In bytes, as DynamoDB counts: names and values.
    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html"""
    return sum(len(name) + len(str(*value.values()).encode()) for name, value in record.items())


def index_writes(before: Attributes, after: Attributes) -> dict[str, int]:
    """Index → writes that a change costs: one for an entry that comes, goes or changes, two for one that moves.
    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/GSI.html"""
    found = {}
    for index in table_definition("any")["GlobalSecondaryIndexes"]:
        keys = [element["AttributeName"] for element in index["KeySchema"]]
        projected = index["Projection"].get("NonKeyAttributes", [])
        old, new = ([record.get(key) for key in keys] for record in (before, after))
        moved = (None not in old) + (None not in new) if old != new else 0
        changed = any(before.get(name) != after.get(name) for name in projected)
        if moved or changed:
            found[str(index["IndexName"])] = moved or 1
    return found


@contextmanager
def counted(aws: Clients) -> Iterator[Counter[str]]:
    """Operation → calls in the block."""
    calls: Counter[str] = Counter()

    def count(event_name: str, **_: Any) -> None:
        calls[event_name.rpartition(".")[2]] += 1

    aws.dynamodb.meta.events.register("before-send.dynamodb", count)
    try:
        yield calls
    finally:
        aws.dynamodb.meta.events.unregister("before-send.dynamodb", count)


Answer = Callable[[Any], AWSResponse]


@contextmanager
def answered(aws: Clients, operation: str, *answers: Answer) -> Iterator[list[str]]:
    """The first calls of an operation are answered so, the others by DynamoDB. Yields what was called."""
    waiting = list(answers)
    times: list[str] = []

    def answer(request: Any, **_: Any) -> AWSResponse | None:
        times.append(operation)
        return waiting.pop(0)(request) if waiting else None

    event = f"before-send.dynamodb.{operation}"
    aws.dynamodb.meta.events.register(event, answer)
    try:
        yield times
    finally:
        aws.dynamodb.meta.events.unregister(event, answer)


def _lost(request: Any) -> AWSResponse:
    """DynamoDB gets the call, and its answer does not come back."""
    URLLib3Session().send(request)
    return _response(request, 500, "InternalServerError", {})


def _conflicting(request: Any) -> AWSResponse:
    return _response(request, 400, "TransactionConflictException", {})


def _cancelled(*codes: str) -> Answer:
    reasons = [{"Code": code, "Message": "in DynamoDB's words"} for code in codes]
    return lambda request: _response(request, 400, "TransactionCanceledException", {"CancellationReasons": reasons})


CONFLICTS = {
    Slot.KEEP: ("UpdateItem", _conflicting),
    Slot.ACQUIRE: ("TransactWriteItems", _cancelled("None", "TransactionConflict")),
}


class _Raw:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self) -> Iterator[bytes]:
        yield self._content


def _response(request: Any, status: int, code: str, body: dict[str, Any]) -> AWSResponse:
    content = json.dumps({"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": "no", **body}).encode()
    return AWSResponse(request.url, status, {"Content-Type": "application/x-amz-json-1.0"}, _Raw(content))
