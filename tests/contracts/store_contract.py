"""What every Store keeps to. An adapter binds `make_store`: a new, empty store at each call."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.errors import NoSlot, Stale
from slipway.model import (
    Act,
    ApiKey,
    Build,
    GitSource,
    Item,
    Job,
    Lease,
    Moment,
    Queue,
    QueueKey,
    Slot,
    State,
    Submission,
    TemplateVariable,
)
from slipway.ports import Store

GPU = QueueKey("team", "gpu")

MakeStore = Callable[[], Store]


def an_item(
    item_id: str = "01a",
    entity: str = "team",
    queue: str = "gpu",
    queue_entity: str | None = None,
    key: str | None = None,
    **changes: Any,
) -> Item:
    submission = Submission(
        Job(GitSource("https://example.com/a.git")),
        queue,
        entity,
        "digits",
        queue_entity=queue_entity,
        idempotency_key=key,
    )
    return Item(item_id, submission, "kubernetes", {}, "r1", 1.0, **changes)


def a_queue(max_jobs: int, key: QueueKey = GPU) -> Queue:
    return Queue(key.entity, key.name, "kubernetes", max_jobs=max_jobs)


class StoreContract:
    examples = 40
    """How many stores are drawn and compared with a look at every item; fewer where a call takes milliseconds."""

    @pytest.fixture
    def make_store(self) -> MakeStore:
        raise AssertionError("a binding says how its store is made")

    @pytest.fixture
    def store(self, make_store: MakeStore) -> Store:
        return make_store()

    # --- queues
    def test_a_saved_queue_is_found_by_its_key_with_its_new_version(self, store: Store) -> None:
        queue = Queue(
            "équipe",
            "gpu 🚢",
            "kubernetes",
            config={"spec": {"n": "{{n}}", "none": None}},
            template_variables={"n": TemplateVariable("integer", default=1, enum=(1, 2))},
            overridable_fields=("spec.n",),
        )
        saved = store.save_queue(queue)
        assert saved == replace(queue, version=1)
        assert store.queue(queue.key) == saved
        assert store.queue(QueueKey("équipe", "other")) is None

    def test_a_queue_is_created_once(self, store: Store) -> None:
        first = store.save_queue(a_queue(1))
        with pytest.raises(Stale) as stale:
            store.save_queue(a_queue(5))
        assert stale.value.current == first
        assert store.queue(GPU) == first

    def test_a_stale_queue_is_refused_with_the_current_one(self, store: Store) -> None:
        loaded = store.save_queue(a_queue(1))
        current = store.save_queue(replace(loaded, max_jobs=2))
        with pytest.raises(Stale) as stale:
            store.save_queue(replace(loaded, max_jobs=3))
        assert stale.value.current == current
        assert store.queue(GPU) == current

    def test_a_deleted_queue_is_gone_and_may_be_deleted_and_created_again(self, store: Store) -> None:
        loaded = store.save_queue(a_queue(1))
        store.delete_queue(GPU)
        store.delete_queue(GPU)
        assert store.queue(GPU) is None
        with pytest.raises(Stale) as stale:
            store.save_queue(loaded)
        assert stale.value.current is None
        assert store.save_queue(a_queue(1)).version == 1

    def test_queues_are_listed_by_entity_and_name(self, store: Store) -> None:
        for key in (QueueKey("b", "x"), QueueKey("a", "y"), QueueKey("a", "x")):
            store.save_queue(a_queue(1, key))
        assert [str(queue.key) for queue in store.queues()] == ["a/x", "a/y", "b/x"]
        assert [str(queue.key) for queue in store.queues("a")] == ["a/x", "a/y"]
        assert list(store.queues("c")) == []

    # --- items: create and save
    def test_a_created_item_is_found_as_version_1(self, store: Store) -> None:
        item = an_item(
            reason="zu groß 🚢",
            lease=Lease(Act.START, 2.5),
            timeline=(Moment(1.0, State.PENDING, "submitted"),),
            metrics={"accuracy": 0.97, "nested": [1, None, {"x": "\u0000"}]},
        )
        saved = store.create(item)
        assert saved == replace(item, version=1)
        assert store.item(item.id) == saved
        assert store.item("01b") is None

    def test_an_id_is_created_once(self, store: Store) -> None:
        first = store.create(an_item())
        with pytest.raises(Stale) as stale:
            store.create(an_item(reason="another"))
        assert stale.value.current == first
        assert store.item("01a") == first

    def test_each_save_adds_one_to_the_version(self, store: Store) -> None:
        item = store.create(an_item())
        for version in (2, 3, 4):
            item = store.save(replace(item, reason=f"save {version}"))
            assert item.version == version
            assert store.item(item.id) == item

    def test_a_stale_save_is_refused_with_the_current_item(self, store: Store) -> None:
        loaded = store.create(an_item())
        current = store.save(replace(loaded, reason="first"))
        with pytest.raises(Stale) as stale:
            store.save(replace(loaded, reason="second"))
        assert stale.value.current == current
        assert store.item("01a") == current

    def test_a_save_of_an_unknown_item_is_refused(self, store: Store) -> None:
        with pytest.raises(Stale) as stale:
            store.save(an_item(version=1))
        assert stale.value.current is None
        assert store.item("01a") is None

    def test_of_many_saves_at_once_one_wins(self, store: Store) -> None:
        loaded = store.create(an_item())

        def save(reason: str) -> str | None:
            try:
                return store.save(replace(loaded, reason=reason)).reason
            except Stale:
                return None

        winners = [reason for reason in _at_once(save, [str(n) for n in range(8)]) if reason is not None]
        current = store.item("01a")
        assert current is not None
        assert winners == [current.reason]
        assert current.version == 2

    def test_what_a_caller_changes_in_place_does_not_reach_the_store(self, store: Store) -> None:
        metrics = {"deep": {"accuracy": 0.5}}
        saved = store.create(an_item(metrics=metrics))
        metrics["deep"]["accuracy"] = 0.9
        loaded = store.item(saved.id)
        assert loaded is not None
        assert loaded.metrics == {"deep": {"accuracy": 0.5}}
        loaded.metrics["deep"]["accuracy"] = 0.1
        again = store.item(saved.id)
        assert again is not None
        assert again.metrics == {"deep": {"accuracy": 0.5}}

    def test_an_item_of_a_megabyte_is_kept_whole(self, store: Store) -> None:
        item = store.create(an_item(metrics={"log": "zeile ß\n" * 120_000}))
        assert store.item(item.id) == item

    # --- items: idempotency
    def test_the_same_key_of_the_same_entity_returns_the_first_item(self, store: Store) -> None:
        first = store.create(an_item("01a", key="k"))
        assert store.create(an_item("01b", key="k")) == first
        assert store.create(an_item("01a", key="k")) == first
        assert store.item("01b") is None

    def test_the_first_item_is_returned_as_it_is_now(self, store: Store) -> None:
        first = store.create(an_item("01a", key="k"))
        finished = store.save(replace(first, state=State.FINISHED))
        assert store.create(an_item("01b", key="k")) == finished

    def test_a_key_belongs_to_the_submitter_not_to_the_queue(self, store: Store) -> None:
        store.create(an_item("01a", entity="ann", queue_entity="team", key="k"))
        other = store.create(an_item("01b", entity="bob", queue_entity="team", key="k"))
        assert other.id == "01b"

    def test_items_without_a_key_are_never_the_same(self, store: Store) -> None:
        assert {store.create(an_item(item_id)).id for item_id in ("01a", "01b")} == {"01a", "01b"}

    def test_a_known_key_is_looked_up_without_creating(self, store: Store) -> None:
        store.create(an_item("01a"))
        first = store.create(an_item("01b", entity="ann", queue_entity="team", key="k"))
        finished = store.save(replace(first, state=State.FINISHED))
        assert store.known("ann", "k") == finished
        assert [store.known("team", "k"), store.known("ann", "other"), store.known("team", None)] == [None] * 3

    def test_of_many_creates_at_once_with_one_key_one_item_comes(self, store: Store) -> None:
        ids = [f"01{n}" for n in range(8)]
        created = _at_once(lambda item_id: store.create(an_item(item_id, key="k")).id, ids)
        assert len(set(created)) == 1
        assert [item.id for item in store.items()] == created[:1]

    # --- the line
    def test_the_head_is_the_lowest_priority_number_then_the_lowest_id(self, store: Store) -> None:
        """S2"""
        for item_id, priority in (("01c", 1), ("01a", 2), ("01b", 1), ("01d", 0)):
            store.create(an_item(item_id, priority=priority, image="x"))
        order = []
        while head := store.head(GPU):
            order.append(head.id)
            store.save(replace(head, state=State.STARTING))
        assert order == ["01d", "01b", "01c", "01a"]

    def test_an_item_waits_from_having_an_image_until_it_starts_and_again_when_it_is_back(self, store: Store) -> None:
        item = store.create(an_item())
        assert store.head(GPU) is None
        item = store.save(replace(item, state=State.BUILDING, image="x"))
        assert store.head(GPU) is None
        item = store.save(replace(item, state=State.PENDING))
        assert store.head(GPU) == item
        item = store.save(replace(item, reason="no slot", refusals=1))
        assert store.head(GPU) == item
        item = store.save(replace(item, state=State.STARTING))
        assert store.head(GPU) is None
        item = store.save(replace(item, state=State.PENDING, attempt=2))
        assert store.head(GPU) == item
        store.save(replace(item, state=State.STOPPED))
        assert store.head(GPU) is None

    def test_each_queue_has_its_own_line_whoever_submits(self, store: Store) -> None:
        store.create(an_item("01a", queue="cpu", image="x"))
        mine = store.create(an_item("01b", image="x"))
        guest = store.create(an_item("01c", entity="guest", queue_entity="team", image="x"))
        assert store.head(GPU) == mine
        assert store.ahead(guest) == 1
        assert store.head(QueueKey("guest", "gpu")) is None

    def test_a_changed_priority_changes_the_place(self, store: Store) -> None:
        first = store.create(an_item("01a", image="x"))
        second = store.create(an_item("01b", image="x"))
        store.save(replace(second, priority=0))
        assert store.ahead(first) == 1
        head = store.head(GPU)
        assert head is not None
        assert head.id == "01b"

    def test_ahead_counts_up_to_its_limit(self, store: Store) -> None:
        for n in range(5):
            store.create(an_item(f"01{n}", image="x"))
        last = store.create(an_item("019", image="x"))
        assert store.ahead(last) == 5
        assert store.ahead(last, limit=3) == 3
        assert store.ahead(replace(last, priority=0)) == 0

    def test_crowded_names_the_queues_with_waiting_items(self, store: Store) -> None:
        assert list(store.crowded()) == []
        for n, (entity, queue) in enumerate([("a", "x"), ("a", "x"), ("a", "y"), ("b", "x"), ("c", "x")]):
            store.create(an_item(f"01{n}", entity=entity, queue=queue, image=None if entity == "c" else "x"))
        assert list(store.crowded()) == [QueueKey("a", "x"), QueueKey("a", "y"), QueueKey("b", "x")]
        only = store.head(QueueKey("a", "y"))
        assert only is not None
        store.save(replace(only, state=State.RUNNING))
        assert list(store.crowded()) == [QueueKey("a", "x"), QueueKey("b", "x")]

    # --- slots
    def test_slots_are_taken_up_to_the_cap_and_a_refused_save_writes_nothing(self, store: Store) -> None:
        store.save_queue(a_queue(2))
        items = [store.create(an_item(f"01{n}", image="x", due=1.0)) for n in range(3)]
        for item in items[:2]:
            store.save(replace(item, state=State.STARTING, due=None), Slot.ACQUIRE)
        with pytest.raises(NoSlot):
            store.save(replace(items[2], state=State.STARTING, due=None), Slot.ACQUIRE)
        assert store.slots(GPU) == {"010.1", "011.1"}
        assert store.item("012") == items[2]
        assert store.head(GPU) == items[2]
        assert list(store.due(1.0)) == ["012"]

    def test_a_stale_save_takes_and_gives_back_no_slot(self, store: Store) -> None:
        store.save_queue(a_queue(2))
        loaded = store.create(an_item())
        holder = store.save(loaded, Slot.ACQUIRE)
        with pytest.raises(Stale):
            store.save(loaded, Slot.RELEASE)
        assert store.slots(GPU) == {"01a.1"}
        other = store.create(an_item("01b"))
        store.save(other)
        with pytest.raises(Stale):
            store.save(other, Slot.ACQUIRE)
        assert store.slots(GPU) == {holder.slot}

    def test_taking_or_giving_back_twice_is_the_same_as_once(self, store: Store) -> None:
        store.save_queue(a_queue(1))
        item = store.create(an_item())
        item = store.save(item, Slot.ACQUIRE)
        item = store.save(item, Slot.ACQUIRE)
        assert store.slots(GPU) == {"01a.1"}
        item = store.save(item, Slot.RELEASE)
        item = store.save(item, Slot.RELEASE)
        assert store.slots(GPU) == frozenset()

    def test_an_attempt_gives_back_the_slots_up_to_its_own_and_not_a_later_one(self, store: Store) -> None:
        store.save_queue(a_queue(3))
        item = store.create(an_item())
        for attempt in (1, 2, 3):
            item = store.save(replace(item, attempt=attempt), Slot.ACQUIRE)
        assert store.slots(GPU) == {"01a.1", "01a.2", "01a.3"}
        item = store.save(replace(item, attempt=2), Slot.RELEASE)
        assert store.slots(GPU) == {"01a.3"}

    def test_a_slot_given_back_can_be_taken_by_another(self, store: Store) -> None:
        store.save_queue(a_queue(1))
        first = store.save(store.create(an_item("01a")), Slot.ACQUIRE)
        second = store.create(an_item("01b"))
        store.save(replace(first, state=State.FINISHED), Slot.RELEASE)
        store.save(second, Slot.ACQUIRE)
        assert store.slots(GPU) == {"01b.1"}

    def test_queues_do_not_share_slots(self, store: Store) -> None:
        cpu = QueueKey("team", "cpu")
        store.save_queue(a_queue(1))
        store.save_queue(a_queue(1, cpu))
        store.save(store.create(an_item("01a")), Slot.ACQUIRE)
        store.save(store.create(an_item("01b", queue="cpu")), Slot.ACQUIRE)
        assert (store.slots(GPU), store.slots(cpu)) == ({"01a.1"}, {"01b.1"})

    @pytest.mark.parametrize("capless", [a_queue(-1), None], ids=["no cap", "no queue"])
    def test_without_a_cap_or_a_queue_there_is_no_slot_record(self, store: Store, capless: Queue | None) -> None:
        if capless:
            store.save_queue(capless)
        item = store.save(store.create(an_item()), Slot.ACQUIRE)
        assert item.version == 2
        assert store.slots(GPU) == frozenset()
        assert store.save(item, Slot.RELEASE).version == 3

    def test_a_queue_of_no_jobs_admits_none(self, store: Store) -> None:
        store.save_queue(a_queue(0))
        with pytest.raises(NoSlot):
            store.save(store.create(an_item()), Slot.ACQUIRE)

    def test_a_lowered_cap_admits_none_until_enough_are_given_back(self, store: Store) -> None:
        queue = store.save_queue(a_queue(2))
        holders = [store.save(store.create(an_item(f"01{n}")), Slot.ACQUIRE) for n in range(2)]
        store.save_queue(replace(queue, max_jobs=1))
        waiting = store.create(an_item("019"))
        for holder in holders:
            with pytest.raises(NoSlot):
                store.save(waiting, Slot.ACQUIRE)
            store.save(holder, Slot.RELEASE)
        store.save(waiting, Slot.ACQUIRE)
        assert store.slots(GPU) == {"019.1"}

    def test_all_held_slots_are_listed_those_of_a_deleted_queue_too(self, store: Store) -> None:
        cpu = QueueKey("other", "cpu")
        assert list(store.held()) == []
        for key in (GPU, cpu):
            store.save_queue(a_queue(2, key))
        store.save(store.create(an_item("01a", attempt=3)), Slot.ACQUIRE)
        store.save(store.create(an_item("01b", queue="cpu", queue_entity="other")), Slot.ACQUIRE)
        store.delete_queue(cpu)
        assert set(store.held()) == {(GPU, "01a.3"), (cpu, "01b.1")}

    def test_a_slot_that_is_freed_is_there_for_the_next_and_no_other_is_touched(self, store: Store) -> None:
        store.save_queue(a_queue(2))
        first, _ = [store.save(store.create(an_item(f"01{n}")), Slot.ACQUIRE) for n in range(2)]
        for holder in ("010.1", "010.1", "010.2", "01z.1", "no holder"):
            store.free(GPU, holder)
        store.free(QueueKey("team", "cpu"), "011.1")
        assert store.slots(GPU) == {"011.1"}
        assert store.item("010") == first
        store.save(store.create(an_item("01c")), Slot.ACQUIRE)
        assert store.slots(GPU) == {"011.1", "01c.1"}

    def test_slots_of_running_items_outlive_their_queue(self, store: Store) -> None:
        """A queue that is deleted and applied again does not run more than its cap."""
        store.save_queue(a_queue(1))
        holder = store.save(store.create(an_item("01a")), Slot.ACQUIRE)
        store.delete_queue(GPU)
        store.save_queue(a_queue(1))
        other = store.create(an_item("01b"))
        with pytest.raises(NoSlot):
            store.save(other, Slot.ACQUIRE)
        store.save(holder, Slot.RELEASE)
        store.save(other, Slot.ACQUIRE)

    def test_threads_that_race_never_hold_more_than_the_cap(self, store: Store) -> None:
        cap = 3
        store.save_queue(a_queue(cap))
        for n in range(16):
            store.create(an_item(f"01{n:02}"))
        seen: list[int] = []

        def take_and_give_back(item_id: str) -> bool:
            item = store.item(item_id)
            assert item is not None
            try:
                item = store.save(item, Slot.ACQUIRE)
            except NoSlot:
                return False
            seen.append(len(store.slots(GPU)))
            store.save(item, Slot.RELEASE)
            return True

        for _ in range(5):
            admitted = _at_once(take_and_give_back, [f"01{n:02}" for n in range(16)])
            assert any(admitted)
        assert max(seen) <= cap
        assert store.slots(GPU) == frozenset()

    def test_when_all_want_a_slot_and_none_gives_back_the_cap_is_met_exactly(self, store: Store) -> None:
        store.save_queue(a_queue(3))
        items = {f"01{n:02}": store.create(an_item(f"01{n:02}")) for n in range(16)}

        def take(item_id: str) -> bool:
            try:
                store.save(items[item_id], Slot.ACQUIRE)
            except NoSlot:
                return False
            return True

        assert sum(_at_once(take, list(items))) == 3
        assert len(store.slots(GPU)) == 3

    # --- due and wanting
    def test_due_lists_the_longest_overdue_first_up_to_the_limit(self, store: Store) -> None:
        for item_id, due in (("01a", 30.0), ("01b", 10.0), ("01c", None), ("01d", 20.5), ("01e", 40.0)):
            store.create(an_item(item_id, due=due))
        assert list(store.due(9.9)) == []
        assert list(store.due(10.0)) == ["01b"]
        assert list(store.due(30.0)) == ["01b", "01d", "01a"]
        assert list(store.due(99.0, limit=2)) == ["01b", "01d"]

    def test_due_follows_each_save(self, store: Store) -> None:
        item = store.create(an_item(due=10.0))
        item = store.save(replace(item, due=20.0))
        assert list(store.due(15.0)) == []
        assert list(store.due(20.0)) == ["01a"]
        store.save(replace(item, due=None))
        assert list(store.due(1e12)) == []

    def test_wanting_names_the_items_that_are_building_that_image(self, store: Store) -> None:
        first = store.create(an_item("01a", state=State.BUILDING, image="x"))
        store.create(an_item("01b", state=State.BUILDING, image="x"))
        store.create(an_item("01c", state=State.BUILDING, image="y"))
        store.create(an_item("01d", state=State.PENDING, image="x"))
        store.create(an_item("01e", state=State.BUILDING))
        assert sorted(store.wanting("x")) == ["01a", "01b"]
        store.save(replace(first, state=State.PENDING))
        assert list(store.wanting("x")) == ["01b"]
        assert list(store.wanting("z")) == []

    # --- listings
    def test_items_are_listed_newest_first_in_pages(self, store: Store) -> None:
        for n in range(7):
            store.create(an_item(f"01{n}"))
        pages: list[list[str]] = []
        before = None
        while page := [item.id for item in store.items(limit=3, before=before)]:
            pages.append(page)
            before = page[-1]
        assert pages == [["016", "015", "014"], ["013", "012", "011"], ["010"]]

    def test_an_item_stays_in_its_place_whatever_it_goes_through(self, store: Store) -> None:
        item = store.create(an_item("01a"))
        store.create(an_item("01b"))
        for state in (*State, State.RUNNING):
            item = store.save(replace(item, state=state))
            assert [found.id for found in store.items()] == ["01b", "01a"]
            assert list(store.items(states=[state]))[-1] == item

    def test_every_question_is_answered_as_by_looking_at_every_item(self, make_store: MakeStore) -> None:
        """Indexes never disagree with the items, after any saves in any order."""

        @settings(max_examples=self.examples, deadline=None)
        @given(data=st.data())
        def holds(data: st.DataObject) -> None:
            store = make_store()
            changes = st.fixed_dictionaries(
                {
                    "state": st.sampled_from(State),
                    "image": st.sampled_from([None, "x", "y"]),
                    "priority": st.integers(0, 3),
                    "due": st.none() | st.floats(0, 9),
                }
            )
            of = st.fixed_dictionaries(
                {
                    "entity": st.sampled_from(["ann", "bob"]),
                    "queue": st.sampled_from(["gpu", "cpu"]),
                    "queue_entity": st.sampled_from([None, "ann"]),
                }
            )
            known: dict[str, Item] = {}
            for _ in range(data.draw(st.integers(0, 12))):
                item_id = data.draw(st.sampled_from(["01a", "01b", "01c", "01d", "01e"]))
                change = data.draw(changes)
                if item_id in known:
                    known[item_id] = store.save(replace(known[item_id], **change))
                else:
                    known[item_id] = store.create(an_item(item_id, **data.draw(of), **change))
            every = sorted(known.values(), key=lambda item: item.id)

            lines: dict[QueueKey, list[Item]] = {}
            for item in sorted(every, key=lambda item: (item.priority, item.id)):
                if item.waiting:
                    lines.setdefault(item.queue, []).append(item)
            assert sorted(store.crowded()) == sorted(lines)
            for item in every:
                line = lines.get(item.queue, [])
                assert store.head(item.queue) == (line[0] if line else None)
                before = [other for other in line if (other.priority, other.id) < (item.priority, item.id)]
                assert store.ahead(item) == len(before)
            now = data.draw(st.floats(0, 9))
            overdue = sorted((item.due, item.id) for item in every if item.due is not None and item.due <= now)
            assert list(store.due(now)) == [item_id for _, item_id in overdue]
            for image in ("x", "y"):
                building = [item.id for item in every if item.state is State.BUILDING and item.image == image]
                assert sorted(store.wanting(image)) == building
            entity = data.draw(st.sampled_from([None, "ann", "bob"]))
            queue = data.draw(st.sampled_from([None, "gpu", "cpu"]))
            states = data.draw(st.sets(st.sampled_from(State), max_size=3))
            limit = data.draw(st.integers(1, 5))
            last = data.draw(st.sampled_from([None, "01a", "01c", "01cc", "01z"]))
            listed = [
                item
                for item in reversed(every)
                if entity in (None, item.submission.entity)
                and queue in (None, item.queue.name)
                and (not states or item.state in states)
                and (last is None or item.id < last)
            ]
            assert list(store.items(entity, queue, states, limit, last)) == listed[:limit]

        holds()

    # --- builds
    def test_builds_are_guarded_like_everything_else(self, store: Store) -> None:
        assert store.build("x") is None
        first = store.save_build(Build("x", "docker", lease=Lease(Act.START, 2.5)))
        assert first == Build("x", "docker", lease=Lease(Act.START, 2.5), version=1)
        with pytest.raises(Stale) as created_twice:
            store.save_build(Build("x", "docker"))
        assert created_twice.value.current == first
        second = store.save_build(replace(first, attempt=2, build_id="b2"))
        with pytest.raises(Stale) as stale:
            store.save_build(replace(first, attempt=3))
        assert stale.value.current == second
        assert store.build("x") == second
        assert store.build("y") is None

    def test_builds_are_listed_latest_first_up_to_the_limit(self, store: Store) -> None:
        saved = [store.save_build(Build(image, "docker")) for image in ("z", "a", "m")]
        again = store.save_build(replace(saved[0], attempt=2))
        assert list(store.builds()) == [saved[2], saved[1], again]
        assert list(store.builds(limit=1)) == [saved[2]]

    def test_of_many_who_claim_a_build_at_once_one_wins(self, store: Store) -> None:
        def claim(builder: str) -> bool:
            try:
                store.save_build(Build("x", builder))
            except Stale:
                return False
            return True

        assert sum(_at_once(claim, [str(n) for n in range(8)])) == 1

    # --- keys
    def test_keys_are_kept_replaced_and_forgotten(self, store: Store) -> None:
        laptop = ApiKey("a" * 64, "team", "laptop", 2.0)
        server = ApiKey("b" * 64, "*", "server", 1.0)
        store.save_key(laptop)
        store.save_key(server)
        assert store.key(laptop.digest) == laptop
        assert store.key("c" * 64) is None
        assert list(store.keys()) == [server, laptop]
        store.save_key(replace(laptop, name="desk"))
        desk = replace(laptop, name="desk")
        assert list(store.keys()) == [server, desk]
        store.delete_key(laptop.digest)
        store.delete_key(laptop.digest)
        assert list(store.keys()) == [server]


def _at_once(work: Callable[[str], Any], inputs: list[str]) -> list[Any]:
    """The work on each input, all threads let go together."""
    start = threading.Barrier(len(inputs))

    def run(given: str) -> Any:
        start.wait(timeout=10.0)
        return work(given)

    with ThreadPoolExecutor(len(inputs)) as pool:
        return list(pool.map(run, inputs))
