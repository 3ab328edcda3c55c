"""What the core needs from the world, as Protocols. `adapters/` hold the answers; `wire` chooses among them.

Every method may raise `Temporary` (the outcome is unknown) and `Permanent`; only what goes beyond that is
written at the method. The contract suites in `tests/contracts/` are the full text of each port.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from slipway.model import (
    ApiKey,
    ArchiveSource,
    Build,
    BuildRequest,
    BuildStatus,
    Changed,
    DeadLetter,
    GitSource,
    Item,
    Launch,
    Message,
    Presence,
    Queue,
    QueueKey,
    RunRef,
    RunStatus,
    Slot,
    State,
    Topic,
)
from slipway.render.surroundings import Surroundings


class Clock(Protocol):
    def now(self) -> float:
        """Seconds since the Unix epoch."""
        ...


class Store(Protocol):
    """State. Every save is guarded by the version that was loaded."""

    # --- queues
    def queue(self, key: QueueKey) -> Queue | None: ...
    def queues(self, entity: str | None = None) -> Sequence[Queue]:
        """All queues (of one entity), by entity and name."""
        ...

    def save_queue(self, queue: Queue) -> Queue:
        """Guarded. Version 0 creates. Returns it with its new version. Raises Stale."""
        ...

    def delete_queue(self, key: QueueKey) -> None:
        """Gone, whether or not it was there. Items keep what they copied from it."""
        ...

    # --- items
    def create(self, item: Item) -> Item:
        """Saves a new item (version 0 → 1). Where an item of the same entity has the same idempotency key, that one
        is returned and nothing is written. Raises Stale when the id is taken."""
        ...

    def item(self, item_id: str) -> Item | None: ...
    def known(self, entity: str, idempotency_key: str | None) -> Item | None:
        """The item that `create` would return for this key instead of saving a new one."""
        ...

    def save(self, item: Item, slot: Slot = Slot.KEEP) -> Item:
        """Guarded by `item.version`; returns it with version + 1.

        In the same atomic write the item's slot (`item.slot`) in its queue is taken or given back, both idempotent.
        Raises Stale(current) when someone saved it since, and NoSlot when ACQUIRE finds `max_jobs` slots taken by
        others; neither writes anything. A queue without a cap, or that is gone, has no slot record: ACQUIRE always
        succeeds. RELEASE gives back the slot of every attempt up to and including `item.attempt`."""
        ...

    def items(
        self,
        entity: str | None = None,
        queue: str | None = None,
        states: Iterable[State] = (),
        limit: int = 100,
        before: str | None = None,
    ) -> Sequence[Item]:
        """Newest first. `before` is the id that the last page ended with."""
        ...

    def head(self, key: QueueKey) -> Item | None:
        """The waiting item (`item.waiting`) with the lowest priority number, then the lowest id. No scan."""
        ...

    def ahead(self, item: Item, limit: int = 1000) -> int:
        """How many waiting items of its queue come before it, counted up to `limit`."""
        ...

    def crowded(self) -> Sequence[QueueKey]:
        """Queues that have waiting items."""
        ...

    def due(self, now: float, limit: int = 100) -> Sequence[str]:
        """Ids of items whose `due` is at or before `now`, longest overdue first."""
        ...

    def wanting(self, image: str) -> Sequence[str]:
        """Ids of the items in `building` whose image is this one."""
        ...

    def slots(self, key: QueueKey) -> frozenset[str]:
        """Who holds a slot: `<item id>.<attempt>`."""
        ...

    def held(self) -> Sequence[tuple[QueueKey, str]]:
        """Every slot that is held, with its queue, be that there still or not. For who examines a deployment."""
        ...

    def free(self, key: QueueKey, holder: str) -> None:
        """Takes a slot from one that should not have it. For who mends a deployment: an item gives its own back with
        the save that ends it."""
        ...

    # --- builds
    def build(self, image: str) -> Build | None: ...
    def save_build(self, build: Build) -> Build:
        """Guarded, as `save_queue`."""
        ...

    def builds(self, limit: int = 100) -> Sequence[Build]:
        """The latest first, by when their image was first wanted."""
        ...

    # --- keys
    def key(self, digest: str) -> ApiKey | None: ...
    def keys(self) -> Sequence[ApiKey]: ...
    def save_key(self, key: ApiKey) -> None: ...
    def delete_key(self, digest: str) -> None: ...


class Bus(Protocol):
    """Durable messages, delivered at least once, in any order."""

    def send(self, topic: Topic, body: str, delay: float = 0.0) -> None:
        """`delay` in seconds before it becomes visible."""
        ...

    def receive(self, topics: Sequence[Topic], limit: int = 1, wait: float = 0.0) -> Sequence[Message]:
        """Up to `limit` visible messages, each invisible to others for the bus's visibility timeout. Waits up to `wait`
        seconds for the first, woken by a send, without polling."""
        ...

    def ack(self, messages: Sequence[Message]) -> None:
        """Done. An outdated receipt does nothing."""
        ...

    def retry(self, message: Message, reason: str, delay: float = 0.0) -> None:
        """Deliver again after `delay` seconds; after the bus's `max_receives` deliveries it becomes a dead letter."""
        ...

    def bury(self, message: Message, reason: str) -> None:
        """Make it a dead letter now."""
        ...

    def dead_letters(self, limit: int = 100) -> Sequence[DeadLetter]: ...
    def dead_letter(self, letter_id: str) -> DeadLetter:
        """Raises NotFound."""
        ...

    def redrive(self, letter_id: str) -> None:
        """Back to its topic as a fresh message. Raises NotFound."""
        ...

    def drop(self, letter_id: str) -> None:
        """Raises NotFound."""
        ...


class Blobs(Protocol):
    """Bytes under a key, for what is too large for a record or a message: `contexts/3f…c1.zip`."""

    def put(self, key: str, content: bytes | Path) -> None:
        """Of a Path, the file's content, without having all of it in memory. What was there is replaced."""
        ...

    def get(self, key: str) -> bytes | None:
        """None when there is nothing under this key."""
        ...


class SignedBlobs(Blobs, Protocol):
    """Blobs that somebody without an identity can read, for a time."""

    def signed(self, key: str, seconds: float) -> str:
        """An https URL with which anybody may read what is under this key for that long, at most 7 days: a secret. Ends
        earlier where the credentials that signed it do."""
        ...


class Sources(Protocol):
    """Where code comes from."""

    def check(self, source: GitSource | ArchiveSource) -> None:
        """Refuses, without asking anyone, a kind of address that this deployment does not take. Raises Invalid."""
        ...

    def resolve(self, source: GitSource | ArchiveSource) -> str:
        """Mutable → immutable: the full commit id, or the archive's sha256. Raises NotFound, Forbidden, Invalid."""
        ...

    def fetch(self, source: GitSource | ArchiveSource, revision: str, into: Path) -> None:
        """The tree of that revision, without `.git`, in the existing empty folder `into`."""
        ...


class Registry(Protocol):
    def presence(self, image: str) -> Presence:
        """Is this image there? One question, three answers."""
        ...

    def login(self, image: str) -> tuple[str, str] | None:
        """User and password to push this image with, for a builder that runs elsewhere; None where it takes none, and
        where the builder's own identity must do. Never logged, never stored."""
        ...


class Builder(Protocol):
    """Makes images. Starting and finishing are apart: nobody waits in a function."""

    @property
    def cache_mounts(self) -> bool:
        """Whether it understands `RUN --mount=type=cache` in a Dockerfile."""
        ...

    def image(self, name: str, tag: str) -> str:
        """The full reference under which this builder will leave an image."""
        ...

    def registry(self) -> Registry:
        """Where it leaves them."""
        ...

    def start(self, request: BuildRequest) -> BuildStatus:
        """Start the build of (`request.image`, `request.attempt`), or find it started already. Returns at once."""
        ...

    def status(self, build: Build) -> BuildStatus: ...


class Target(Protocol):
    """Where runs run."""

    look_again: float
    """Seconds after which a running item is looked at again although no event came."""
    start_lease: float
    """Seconds that a call of `start` may take before another worker looks, and may call it again."""

    def start(self, launch: Launch) -> RunStatus:
        """Start the run, or adopt it when it is there already and ours (AlreadyExists when it is not).

        Refused: not now, nothing was started. Temporary: unknown, look before trying again."""
        ...

    def status(self, run: RunRef) -> RunStatus: ...
    def live(self) -> Sequence[RunRef]:
        """Every run of Slipway's on this backend that is not over: of this deployment, and perhaps of others."""
        ...

    def stop(self, run: RunRef) -> None:
        """Ask it to stop. A run that is over or absent is stopped already."""
        ...

    def logs(self, run: RunRef, follow: bool = False) -> Iterator[str]:
        """Lines without their line ends, from the first. `follow` goes on until the run is over."""
        ...


class Secrets(Protocol):
    def get(self, reference: str) -> str | None:
        """The value behind a reference (`WANDB_API_KEY`), None when there is none. Never logged, never stored."""
        ...


class Watcher(Protocol):
    """Tells of changes as they happen, as a cloud's event bus does. Events may be lost; the tick repairs."""

    def changes(self, timeout: float) -> Sequence[Changed]:
        """What changed since the last call; blocks up to `timeout` seconds for the first."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Ports:
    """The adapters of one deployment, built once per process by `wire`."""

    store: Store
    bus: Bus
    sources: Sources
    targets: Callable[[str], Target]
    """resource → target; raises Invalid for an unknown one, naming the known."""
    builders: Callable[[str, str | None], Builder]
    """(builder type, destination or None for the deployment's own) → builder; raises Invalid for an unknown type."""
    secrets: Secrets
    clock: Clock
    entropy: Callable[[int], bytes]
    default_builder: Callable[[str], str]
    """resource → builder type, for a queue that names none (S8)."""
    resources: Sequence[str] = ()
    """What this deployment can run. Its backends are asked for runs that nobody wants, also when no queue is left."""
    base_url: str | None = None
    """The W&B server that runs report to; None is W&B's own default."""
    around: Surroundings = field(default_factory=Surroundings)
    """What is known of the cluster, the account or the project where runs run."""
    watchers: Callable[[], Sequence[Watcher]] = field(default=lambda: ())
