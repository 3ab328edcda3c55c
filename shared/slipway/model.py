"""The nouns of Slipway: frozen records. Behaviour is functions over them, elsewhere.

Times are seconds since the Unix epoch (float). Mappings are plain JSON values; nobody changes one in place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

Json = Any
"""A JSON value: None, bool, int, float, str, list or dict of them."""

WEEK = 7 * 86400.0
MAX_RESUMES = 5
"""How often a preempted run is resumed unless its queue says otherwise; W&B Launch's own number."""
DEFAULT_PRIORITY = 2
"""Of 0 (critical) to 3 (low), as in W&B Launch."""


class State(StrEnum):
    """Where an item is. `preempted` is passed through on the way back to `pending`, never rested in."""

    PENDING = "pending"
    BUILDING = "building"
    STARTING = "starting"
    RUNNING = "running"
    PREEMPTED = "preempted"
    FINISHED = "finished"
    FAILED = "failed"
    STOPPED = "stopped"

    @property
    def terminal(self) -> bool:
        return self in TERMINAL


TERMINAL = frozenset({State.FINISHED, State.FAILED, State.STOPPED})


class Stage(StrEnum):
    """In which part of its life an item failed."""

    VALIDATE = "validate"
    BUILD = "build"
    LAUNCH = "launch"
    RUN = "run"


class Failure(StrEnum):
    """Whose fault a failure is, which decides whether a queue's `retries` cover it.

    A fourth kind, no capacity, is not a failure: such an item stays in line.
    """

    INFRASTRUCTURE = "infrastructure"
    """The machine or the backend: the run disappeared, its node died."""
    USER = "user"
    """The job's own code: it exited with a code other than 0."""
    CONFIGURATION = "configuration"
    """The backend does not take what it was asked to start."""


class Desired(StrEnum):
    """What is wished for the item. A wish is honoured in every state."""

    RUN = "run"
    STOP = "stop"
    """Someone cancelled it: it ends as `stopped`."""
    EXPIRE = "expire"
    """It is past its deadline: it is stopped, and ends as `failed`."""


class Act(StrEnum):
    """What one step does to the world, after it has claimed the right to."""

    NOTHING = "nothing"
    PREPARE = "prepare"
    """Have the source resolved, hashed and, where needed, built."""
    START = "start"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class GitSource:
    """A git repository. `version` is a branch, tag or commit; None is the remote's default branch."""

    uri: str
    version: str | None = None


@dataclass(frozen=True, slots=True)
class ArchiveSource:
    """A code artifact: a tar or zip file, by path or https. `sha256` (hex) is required for https."""

    uri: str
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class ImageSource:
    """A container image that exists already."""

    image: str


Source = GitSource | ArchiveSource | ImageSource


@dataclass(frozen=True, slots=True)
class Job:
    """Source and entry point. `build_context` is relative to the root of the source; `dockerfile` and the file in
    `entry_point` are relative to the build context, which is the root where none is given."""

    source: Source
    entry_point: tuple[str, ...] = ()
    dockerfile: str | None = None
    build_context: str | None = None
    python_version: str | None = None
    """`3.11`; None is the version Slipway itself runs on."""
    base_image: str | None = None
    """An image in which the code is mounted as it is, instead of an image that is built of it."""
    user_id: int | None = None
    """Whom a generated image runs as; None is 1000."""


@dataclass(frozen=True, slots=True)
class Submission:
    """What a submitter asks for, parsed and checked on its own; not yet held against a queue."""

    job: Job
    queue: str
    entity: str
    project: str
    queue_entity: str | None = None
    """Whose queue it is, when not `entity`'s."""
    name: str | None = None
    run_id: str | None = None
    author: str | None = None
    sweep_id: str | None = None
    resource: str | None = None
    resource_args: Mapping[str, Json] = field(default_factory=dict)
    template_variables: Mapping[str, Json] = field(default_factory=dict)
    priority: int = DEFAULT_PRIORITY
    args: tuple[str, ...] = ()
    overrides_entry_point: bool = True
    """The job's entry point is the submission's own word, and goes over a command that the queue's config has."""
    working_dir: str | None = None
    """Of mounted code: the folder to start in, relative to its root."""
    wandb_job: str | None = None
    """The W&B job artifact that it runs, `entity/project/name:alias`, where it runs one."""
    additional_services: tuple[Mapping[str, Json], ...] = ()
    """Kubernetes manifests to create beside the run."""
    run_config: Mapping[str, Json] = field(default_factory=dict)
    artifacts: Mapping[str, Json] = field(default_factory=dict)
    files: Mapping[str, Json] = field(default_factory=dict)
    idempotency_key: str | None = None

    @property
    def queue_key(self) -> QueueKey:
        return QueueKey(self.queue_entity or self.entity, self.queue)


@dataclass(frozen=True, slots=True)
class TemplateVariable:
    """A hole `{{name}}` in a queue's config and what may fill it."""

    type: str
    """string, integer, number, boolean or array."""
    default: Json = None
    enum: tuple[Json, ...] | None = None
    minimum: float | None = None
    maximum: float | None = None
    description: str = ""
    items: TemplateVariable | None = None
    """What each element of an array must be. `minimum` and `maximum` then count the elements."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds an item may stay in a state. Nothing stays for ever."""

    pending: float = WEEK
    build: float = 1800.0
    start: float = 1800.0
    run: float | None = None
    """None: what the resource args themselves allow (see `limits`), else a week."""
    stop: float = 70.0

    @property
    def longest_run(self) -> float:
        return WEEK if self.run is None else self.run


@dataclass(frozen=True, slots=True)
class Queue:
    """A named queue of an entity: a resource, a config template, and what submitters may change in it."""

    entity: str
    name: str
    resource: str
    config: Mapping[str, Json] = field(default_factory=dict)
    template_variables: Mapping[str, TemplateVariable] = field(default_factory=dict)
    overridable_fields: tuple[str, ...] = ()
    """Paths in `config` (dots between keys) that a submission's resource_args may set."""
    max_jobs: int = 1
    """Slots; -1 is no limit, and no slot record."""
    prioritization: bool = False
    builder: Mapping[str, Json] = field(default_factory=dict)
    timeouts: Timeouts = Timeouts()
    retries: Mapping[str, int] = field(default_factory=dict)
    """Class of failure (`Failure`) → how often a run that failed so is tried again. None by default."""
    max_resumes: int = MAX_RESUMES
    """How often a preempted run is resumed."""
    paused: bool = False
    """Nothing more starts; submissions are taken."""
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Variable of its runs → name of the secret whose value it gets."""
    secure_mode: bool = False
    """Submitters may set neither entry point nor command, whatever the queue opens; W&B's own word for it."""
    draining: bool = False
    """No more submissions are taken; what is there goes on to its end."""
    version: int = 0

    @property
    def key(self) -> QueueKey:
        return QueueKey(self.entity, self.name)

    @property
    def capped(self) -> bool:
        return self.max_jobs >= 0


class QueueKey(NamedTuple):
    """Who owns a queue, and its name."""

    entity: str
    name: str

    def __str__(self) -> str:
        return f"{self.entity}/{self.name}"


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to perform one act, until a time. It guards that act only."""

    act: Act
    until: float

    def guards(self, act: Act, now: float) -> bool:
        return self.act is act and now < self.until


class Moment(NamedTuple):
    """One line of an item's timeline."""

    at: float
    state: State
    reason: str = ""


@dataclass(frozen=True)
class Item:
    """A queue item: one submission on its way to a finished run.

    `resource_args` is the queue's config with template variables and overrides filled in when it was
    submitted; macros are filled in when it leaves the queue. `due` is when the tick must look at it
    next; `deadline` is when the state it is in is over. Both None once the item is terminal.
    """

    id: str
    submission: Submission
    resource: str
    resource_args: Mapping[str, Json]
    run_id: str
    created_at: float
    builder: Mapping[str, Json] = field(default_factory=dict)
    timeouts: Timeouts = Timeouts()
    priority: int = DEFAULT_PRIORITY
    secrets: Mapping[str, str] = field(default_factory=dict)
    """As its queue's, when it was submitted. Names, never values."""
    mounts_code: bool = False
    """Its image is a base image in which its code is mounted: nothing is built."""
    capped: bool = True
    """Whether the queue had a cap when this item was admitted, so that a slot is released iff one was taken."""
    state: State = State.PENDING
    reason: str = ""
    stage: Stage | None = None
    desired: Desired = Desired.RUN
    attempt: int = 1
    resumes: int = 0
    retries: Mapping[str, int] = field(default_factory=dict)
    """As its queue's, when it was submitted."""
    max_resumes: int = MAX_RESUMES
    """As its queue's, when it was submitted."""
    retried: Mapping[str, int] = field(default_factory=dict)
    """Class of failure → how often it has been tried again for that."""
    missing_since: float | None = None
    """When its backend first said that it does not know the run. One such answer may be stale; it is asked again."""
    joined_at: float | None = None
    """When this attempt joined the line; None for the first, which did so at `created_at`."""
    not_before: float = 0.0
    """A start that was refused, or a run that failed, is not tried again before this time. 0 where there is no wait."""
    refusals: int = 0
    """How often in a row the backend said "not now"; the wait grows with it."""
    image: str | None = None
    """The image that will run. None until the source is resolved."""
    source_hash: str | None = None
    revision: str | None = None
    entry_point: tuple[str, ...] | None = None
    """As its image has it, where that is not how the job wrote it (a Dockerfile.wandb in a subfolder)."""
    backend_id: str | None = None
    """The backend's own name of the run, where the backend assigns one or gave one back."""
    exit_code: int | None = None
    metrics: Mapping[str, Json] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    trouble: str = ""
    """What keeps its run from going on, in its backend's words, as of the last look. "" where nothing does."""
    lease: Lease | None = None
    due: float | None = None
    deadline: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    retry_of: str | None = None
    timeline: tuple[Moment, ...] = ()
    version: int = 0
    """0 is never saved; each save adds one and is guarded by the number that was loaded."""

    @property
    def queue(self) -> QueueKey:
        return self.submission.queue_key

    @property
    def waiting(self) -> bool:
        """Ready to start and in line for a slot. An item that waits for its next try is out of the line meanwhile, or
        nobody behind it could start."""
        return self.state is State.PENDING and self.image is not None and self.not_before == 0.0

    @property
    def built(self) -> bool:
        """Its image comes from a source, so Slipway sees to it that the image exists."""
        return not (self.mounts_code or isinstance(self.submission.job.source, ImageSource))

    @property
    def slot(self) -> str:
        """The name under which it holds a slot. An attempt cannot release the slot of the next one."""
        return f"{self.id}.{self.attempt}"

    def but(self, **changes: Any) -> Item:
        """The same item with other values in some fields: `dataclasses.replace`, at a tenth of its cost.

        An item has forty fields and is copied at every turn of a step. Copying the instance's dictionary
        (which is why this class has no slots) does not go through `__init__` field by field.
        """
        if not changes.keys() <= Item.__dataclass_fields__.keys():
            raise TypeError(f"not fields of an item: {', '.join(changes.keys() - Item.__dataclass_fields__.keys())}")
        other = object.__new__(Item)
        other.__dict__.update(self.__dict__)
        other.__dict__.update(changes)
        return other

    def moved(self, state: State, at: float, reason: str = "", **changes: Any) -> Item:
        """The same item in another state, its timeline one line longer."""
        timeline = (*self.timeline, Moment(at, state, reason))
        return self.but(state=state, reason=reason, timeline=timeline, **changes)


class Slot(StrEnum):
    """What a save does with the item's slot, in the same atomic write."""

    KEEP = "keep"
    ACQUIRE = "acquire"
    RELEASE = "release"


class Presence(StrEnum):
    """A registry's answer about one image."""

    PRESENT = "present"
    ABSENT = "absent"
    UNAUTHORISED = "unauthorised"


class BuildPhase(StrEnum):
    ABSENT = "absent"
    QUEUED = "queued"
    """The builder has it, and builds others first: the time that a build may take does not run yet."""
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"

    @property
    def alive(self) -> bool:
        return self in (BuildPhase.QUEUED, BuildPhase.RUNNING)


@dataclass(frozen=True, slots=True)
class BuildStatus:
    """What a builder says of one build. `log_tail` is its last 50 lines when it failed."""

    phase: BuildPhase
    build_id: str | None = None
    reason: str = ""
    log_tail: str = ""


@dataclass(frozen=True, slots=True)
class Build:
    """The record that makes one build serve every item that wants its image.

    Keyed by `image`. `attempt` grows when a failed build is tried again.
    """

    image: str
    builder: str
    attempt: int = 1
    build_id: str | None = None
    lease: Lease | None = None
    version: int = 0


class RunPhase(StrEnum):
    ABSENT = "absent"
    STARTING = "starting"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    STOPPED = "stopped"
    PREEMPTED = "preempted"


@dataclass(frozen=True, slots=True)
class RunStatus:
    """What a target says of one run, total over the vendor's documented states."""

    phase: RunPhase
    reason: str = ""
    backend_id: str | None = None
    exit_code: int | None = None
    metrics: Mapping[str, Json] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    trouble: str = ""
    """What keeps one that is not over from going on: no node has room, its image cannot be pulled."""
    certain: bool = False
    """Of an absent run: the backend's answers do not lag behind, so it need not be asked once more."""
    failure: Failure = Failure.USER
    """Of a failed run: whose fault it is, as far as the backend tells."""


@dataclass(frozen=True, slots=True)
class RunRef:
    """Which run: the name on the backend is a function of these."""

    item_id: str
    attempt: int
    backend_id: str | None = None

    @property
    def name(self) -> str:
        """`slipway-<item>-<attempt>`: unique, ≤ 63 characters, valid as a DNS label."""
        return f"slipway-{self.item_id}-{self.attempt}"


@dataclass(frozen=True, slots=True)
class Code:
    """Code that is mounted in a base image when the run starts, instead of being built into one."""

    source: GitSource | ArchiveSource
    revision: str
    """The full commit id, or the archive's sha256."""
    working_dir: str | None = None
    """Where the run starts, relative to the root of the code."""
    install: bool = False
    """Whether the run installs its dependencies first: the base image is one that nobody chose for this job."""


@dataclass(frozen=True, slots=True)
class Launch:
    """Everything a target needs to start a run. Nothing in it is secret: `secrets` maps a variable to a reference."""

    run: RunRef
    run_id: str
    image: str
    entry_point: tuple[str, ...]
    """What to run; empty for an image's own entry point."""
    args: tuple[str, ...]
    """The submission's arguments."""
    env: Mapping[str, str]
    secrets: Mapping[str, str]
    resource_args: Mapping[str, Json]
    entity: str
    project: str
    run_name: str
    overriding: bool = True
    """The entry point goes over a command that the resource args have."""
    code: Code | None = None
    services: tuple[Mapping[str, Json], ...] = ()
    """Kubernetes manifests to create beside it, their macros filled in."""

    @property
    def command(self) -> tuple[str, ...]:
        """Entry point and arguments as one; empty for an image's own entry point without arguments."""
        return (*self.entry_point, *self.args)

    @property
    def provided(self) -> bool:
        """The image was submitted, and not built of a source."""
        return "WANDB_DOCKER" in self.env


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """A build: everything that decides the image, and where its context lies on this disk for now."""

    image: str
    attempt: int
    context: str
    """A folder. The builder copies or uploads what it needs before `start` returns."""
    dockerfile: str
    """The text of the Dockerfile; empty for a builder that needs none."""
    config: Mapping[str, Json] = field(default_factory=dict)
    build_args: Mapping[str, str] = field(default_factory=dict)
    platform: str | None = None
    python_version: str | None = None


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A bearer key. Only its SHA-256 is kept. `entity` is what it may act for; `*` is every entity."""

    digest: str
    entity: str
    name: str
    created_at: float


class Topic(StrEnum):
    """The queues of the bus. A body is an item id; on ADVANCE also a queue's `entity/name`, for the head of its line;
    on SUBMIT a launch spec as JSON."""

    SUBMIT = "submit"
    ADVANCE = "advance"
    BUILD = "build"


@dataclass(frozen=True, slots=True)
class Message:
    """A delivery. `receipt` names this delivery, not the message: an old one acknowledges nothing."""

    topic: Topic
    body: str
    receipt: str
    received: int = 1
    """How many times it has been delivered, this one included."""
    id: str = ""
    """Names the message over all its deliveries, those after a redrive too, and no other message ever. Empty where the
    bus has no such name."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that was given up on, with its last error."""

    id: str
    topic: Topic
    body: str
    reason: str
    received: int
    at: float


@dataclass(frozen=True, slots=True)
class Changed:
    """An event: something about a run or an image changed, look again. It carries no verdict."""

    item_id: str | None = None
    image: str | None = None
