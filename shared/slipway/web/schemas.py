"""The shapes of requests and answers, for OpenAPI. They describe; the core checks, once for every entrance.

Tests hold real answers against them, so that the description cannot drift from what is sent.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import models_json_schema

from slipway.model import Desired, Stage, State

Values = dict[str, Any]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Source(_Shape):
    version: str | None = Field(None, description="Branch, tag or commit; the remote's default branch without.")


class Docker(_Shape):
    docker_image: str | None = None
    user_id: int | None = Field(None, description="Whom an image that is built runs as; 1000 by default.")


class Overrides(_Shape):
    entry_point: list[str] | None = Field(None, description="Program and its first arguments.")
    args: list[str] | None = Field(None, description="Arguments after the entry point.")
    run_config: Values | None = Field(None, description="What `wandb.config` starts as.")
    dockerfile: str | None = Field(None, description="Path within the build context.")
    artifacts: Values | None = None
    files: Values | None = Field(None, description="Path in the source → values to change in that config file.")
    working_dir: str | None = Field(None, description="Of code that is mounted: the folder to start in.")


class LaunchSpec(_Shape):
    """A job and the queue to put it on, in W&B Launch's words. Exactly one source: `uri`, or a docker image."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "entity": "team-a",
                    "project": "digits",
                    "queue": "gpu",
                    "uri": "https://github.com/team-a/digits.git",
                    "git": {"version": "main"},
                    "overrides": {"entry_point": ["python", "train.py"], "args": ["--epochs", "3"]},
                    "template_variables": {"memory": 8},
                }
            ]
        },
    )
    queue: str
    project: str
    entity: str | None = Field(None, description="Team or person; the key's own without.")
    queue_entity: str | None = Field(None, description="Whose queue it is, where not `entity`'s.")
    name: str | None = Field(None, description="The run's display name.")
    uri: str | None = Field(None, description="A git repository, or an archive (.tar.gz, .zip …).")
    git: Source | None = None
    sha256: str | None = Field(None, description="Of an archive; required over https.")
    docker: Docker | None = None
    image_uri: str | None = Field(None, description="The same as `docker.docker_image`.")
    resource: str | None = Field(None, description="Must be the queue's, where given.")
    resource_args: Values | None = Field(None, description="Changes to the queue's config, where it opens the field.")
    template_variables: Values | None = Field(None, description="Values for the queue's template variables.")
    priority: int | str | None = Field(None, description="0 to 3, or critical, high, medium, low.")
    overrides: Overrides | None = None
    job: Values | None = Field(None, description="A W&B job's file, wandb-job.json, in place of `uri`.")
    job_artifact: str | None = Field(None, description="The W&B job artifact that it runs, for its lineage.")
    entry_point: list[str] | None = Field(None, description="The job's own; `overrides.entry_point` goes over it.")
    dockerfile: str | None = Field(None, description="The job's own; `overrides.dockerfile` goes over it.")
    base_image: str | None = Field(None, description="An image in which the code is mounted, in place of a build.")
    build_context: str | None = Field(None, description="Folder of the source that is built.")
    python_version: str | None = None
    run_id: str | None = Field(None, description="W&B's run id; made up without.")
    author: str | None = None
    sweep_id: str | None = None
    additional_services: list[Values] | None = Field(None, description="Kubernetes manifests beside the run.")
    idempotency_key: str | None = Field(None, description="As the header Idempotency-Key.")


class VariableSchema(_Shape):
    type: Literal["string", "integer", "number", "boolean", "array"]
    default: Any = None
    enum: list[Any] | None = None
    minimum: float | None = None
    maximum: float | None = None
    items: VariableSchema | None = None
    minItems: int | None = None  # noqa: N815 - JSON Schema's own word
    maxItems: int | None = None  # noqa: N815


class Variable(_Shape):
    schema_: VariableSchema = Field(alias="schema")
    description: str = ""


class Timeouts(_Shape):
    """Seconds an item may stay in a state."""

    pending: float | None = None
    build: float | None = None
    start: float | None = None
    run: float | None = None
    stop: float | None = None


class QueueFile(_Shape):
    """A queue: where its items run, with what config, and what submitters may change in it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "resource": "local-container",
                    "resource_args": {"local-container": {"memory": "{{memory}}g", "env": ["WANDB_MODE=offline"]}},
                    "template_variables": {
                        "memory": {"schema": {"type": "integer", "default": 4, "minimum": 1, "maximum": 64}}
                    },
                    "max_jobs": 2,
                }
            ]
        },
    )
    name: str | None = None
    entity: str | None = None
    resource: str = Field(description="local-container, local-process, kubernetes, sagemaker or gcp-vertex.")
    resource_args: Values | None = Field(None, description="`{<resource>: config}`; what it means is the resource's.")
    template_variables: dict[str, Variable] | None = None
    overridable_fields: list[str] | None = Field(None, description="Paths in the config that a submitter may set.")
    max_jobs: int | None = Field(None, description="Items that run at once; -1 is no limit.")
    prioritization: bool | None = Field(None, description="Priority first, then age; else first in, first out.")
    builder: Values | None = None
    timeouts: Timeouts | None = None
    retries: dict[str, int] | None = Field(None, description="infrastructure, user, configuration → how often.")
    secrets: dict[str, str] | None = Field(None, description="Variable → name of the secret whose value it gets.")
    max_resumes: int | None = Field(None, description="How often a preempted run is resumed; 5 by default.")
    paused: bool | None = Field(None, description="Nothing more starts from it.")
    secure_mode: bool | None = Field(None, description="Submitters may set neither entry point nor command.")
    draining: bool | None = Field(None, description="It takes no more submissions.")


class QueueList(_Shape):
    queues: list[QueueFile]


class MomentView(_Shape):
    at: str
    state: State
    reason: str


class LeaseView(_Shape):
    act: str
    until: str


class ItemSummary(_Shape):
    """An item as listed. Times are RFC 3339 in UTC."""

    id: str
    state: State
    reason: str
    trouble: str = Field(description="What keeps its run from going on, as of the last look.")
    stage: Stage | None = Field(description="In which part of its life it failed.")
    entity: str
    project: str
    queue: str
    resource: str
    name: str | None
    run_id: str
    priority: int
    attempt: int
    created_at: str
    started_at: str | None
    ended_at: str | None
    duration_seconds: float | None
    image: str | None
    exit_code: int | None
    metrics: Values
    retry_of: str | None


class ItemView(ItemSummary):
    """An item in full. Values that look like secrets are asterisks."""

    author: str | None
    sweep_id: str | None
    queue_entity: str
    source_hash: str | None
    revision: str | None
    backend_id: str | None
    warnings: list[str]
    timeline: list[MomentView]
    desired: Desired
    resumes: int
    refusals: int
    not_before: str | None = Field(description="A refused start is not tried again before.")
    due: str | None = Field(description="When the clock looks at it next.")
    deadline: str | None = Field(description="When the state it is in is over.")
    lease: LeaseView | None
    version: int
    submission: Values
    resource_args: Values


class ItemPage(_Shape):
    items: list[ItemSummary]
    next: str | None


class Explained(_Shape):
    sentence: str
    facts: Values


class BaseImageView(_Shape):
    image: str
    pinned: bool = Field(description="Whether it is given by its digest, and so can only ever be the one image.")


class FileView(_Shape):
    path: str
    kind: Literal["file", "executable", "link"]
    sha256: str | None = Field(description="Of its content; null of a link.")
    target: str | None = Field(description="Where a link leads; null of a file.")
    bytes: int


class ImageView(_Shape):
    """What an item's image is made of. Values that look like secrets are asterisks."""

    item: str
    image: str | None
    source_hash: str
    recomputed: str = Field(description="The source hash of what is listed here.")
    reproduced: bool = Field(description="Whether that is the item's own.")
    note: str = Field(description="What it means where it is not; else empty.")
    source: str
    revision: str
    builder: str
    dockerfile_choice: Literal["job", "beside", "generated", "none"]
    dockerfile_path: str | None = Field(description="Relative to the source's build context.")
    dockerfile: str = Field(description="The text that is hashed; empty for a builder that needs none.")
    base_images: list[BaseImageView]
    build_args: dict[str, str]
    platform: str | None = Field(description="null: the builder's own.")
    python_version: str | None
    user: str | None = Field(description="Of a generated Dockerfile.")
    file_count: int
    total_bytes: int
    files: list[FileView] | None = Field(description="null unless asked for.")


class PlannedImage(_Shape):
    reference: str | None = Field(description="null where its source was not fetched.")
    build: bool | None = Field(description="Whether it must be built; null where nobody can tell.")
    why: str
    revision: str | None = None
    source_hash: str | None = None


class PlannedPayload(_Shape):
    call: str = Field(description="The call that takes it, in the vendor's words.")
    body: Any = Field(description="What the backend is given. Secrets are references.")
    beside: list[Values] = Field(description="Kubernetes manifests that are created before it.")


class Verdict(_Shape):
    field: str
    set_by: Literal["queue", "submission"]
    verdict: Literal["allowed"]
    reason: str


class PlannedLine(_Shape):
    priority: int
    ahead: int = Field(description="Waiting items that would start before it.")
    slots: int | None = Field(description="null where the queue has no limit.")
    slots_in_use: int | None
    paused: bool


class PlanView(_Shape):
    """What would happen to a submission."""

    queue: dict[str, str]
    submission: Values
    image: PlannedImage
    payload: PlannedPayload
    guardrails: list[Verdict] = Field(description="Fields that no submitter could set, and what the submission set.")
    line: PlannedLine
    limits: dict[str, float]
    warnings: list[str]


class PriorityChange(_Shape):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"priority": 0}]})
    priority: int = Field(ge=0, le=3)


class KeyRequest(_Shape):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"entity": "team-a", "name": "ci"}]})
    entity: str = Field(description="Whom it acts for; `*` is every entity.")
    name: str | None = Field(None, description="What it is for.")


class KeyView(_Shape):
    id: str
    entity: str
    name: str
    created_at: str


class NewKey(KeyView):
    key: str = Field(description="The key itself, shown this once.")


class KeyList(_Shape):
    keys: list[KeyView]


class QueueStatus(_Shape):
    entity: str
    name: str
    resource: str
    paused: bool
    draining: bool
    max_jobs: int
    slots_in_use: int | None = Field(description="null where the queue has no limit.")
    waiting: int


class LetterView(_Shape):
    id: str
    topic: str
    item: str | None
    reason: str
    received: int
    at: str


class LetterList(_Shape):
    dead_letters: list[LetterView]


class Envelope(LetterView):
    message: Any = Field(description="An item's id, a queue's `entity/name`, or the launch spec that was submitted.")


class Status(_Shape):
    items: dict[State, int]
    counted_to: int
    queues: list[QueueStatus]
    dead_letters: list[LetterView] | None = Field(description="null for a key of one entity.")


class Healthy(_Shape):
    status: Literal["ok"]


class Ready(_Shape):
    ready: bool
    reasons: list[str]


class ProblemView(_Shape):
    field: str
    value: Any
    rule: str
    fix: str


class ErrorBody(_Shape):
    kind: Literal["invalid", "unauthorised", "forbidden", "not_found", "conflict", "temporary", "internal"]
    message: str
    problems: list[ProblemView]


class ErrorView(_Shape):
    """Every error has this shape. `message` is for people; `problems` has each broken rule apart."""

    error: ErrorBody


ERRORS: dict[int | str, dict[str, Any]] = {
    401: {"model": ErrorView, "description": "No key, or one that is not known."},
    403: {"model": ErrorView, "description": "The key does not act for this entity."},
    422: {"model": ErrorView, "description": "What was sent breaks rules: all of them are told."},
    503: {"model": ErrorView, "description": "Not now: try again after `Retry-After` seconds."},
}
BAD_BODY: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorView, "description": "The body is not JSON or YAML; the message names line and column."},
    413: {"model": ErrorView, "description": "The body is larger than 1 MiB."},
}
NOT_THERE: dict[int | str, dict[str, Any]] = {
    404: {"model": ErrorView, "description": "There is no such thing, or none that this key may see."},
}

_SHAPE = "#/components/schemas/"
_REQUESTS = (LaunchSpec, QueueFile, PriorityChange, KeyRequest)


def body(name: str, *, yaml: bool = False) -> dict[str, Any]:
    """The OpenAPI of a request body that has one of the shapes here."""
    types = ("application/json", "application/yaml") if yaml else ("application/json",)
    schema = {"$ref": f"{_SHAPE}{name}"}
    return {"requestBody": {"required": True, "content": {each: {"schema": schema} for each in types}}}


def described(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer with a model, as OpenAPI writes it down."""
    schema = {"$ref": f"{_SHAPE}{answer['model'].__name__}"}
    return {"description": answer["description"], "content": {"application/json": {"schema": schema}}}


def request_shapes() -> Values:
    """The components that `body` refers to: FastAPI collects those of answers only."""
    _, shapes = models_json_schema([(shape, "validation") for shape in _REQUESTS], ref_template=f"{_SHAPE}{{model}}")
    defined: Values = shapes["$defs"]
    return defined
