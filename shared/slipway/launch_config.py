"""A W&B Launch agent's `launch-config.yaml`, read as W&B's agent reads it, and stricter where that agent is silent.

What becomes of it in Slipway is `migration`'s to say. Here it is only understood: the command line's words over the
file's, the older words beside the newer ones, and every mistake told at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from slipway.builders import WANDB_BUILDERS, read_builder
from slipway.documents import Reader, is_number
from slipway.errors import nearest
from slipway.model import Json
from slipway.registries import FORMATS, Kind, broken_rule, destination
from slipway.spec import ENTITY_LENGTH, QUEUE_LENGTH

ENVIRONMENTS = ("aws", "gcp", "azure")
REGISTRIES = ("ecr", "acr", "gcr")
STOPPED_RUN_TIMEOUT = 60

_FIELDS = (
    *("entity", "queues", "queue", "max_jobs", "max_schedulers", "secure_mode", "registry", "environment", "builder"),
    *("verbosity", "stopped_run_timeout"),
)
_ELSEWHERE = {
    "base_url": "Set WANDB_BASE_URL where `slipway up` runs: runs then report to that W&B server.",
    "project": "A run's project is its submission's: `slipway submit -p PROJECT`, or SLIPWAY_PROJECT.",
    "runner": "What a run gets is in its queue's resource_args: the namespace in metadata, RoleArn, OutputDataConfig.",
}
"""Keys that people write although W&B's agent takes none of them, and where each setting goes in Slipway."""
_LONG_FORMS = {
    "ecr": ("account_id", "region", "repo_name"),
    "gcr": ("region", "project", "repository", "image-name"),
}
"""Registry's type → the keys that say in pieces what `uri` says in one."""


@dataclass(frozen=True, slots=True)
class Environment:
    """Whose cloud the agent worked in. There are no credentials in it: those come from each SDK's own chain."""

    type: str
    region: str | None = None
    project: str | None = None


@dataclass(frozen=True, slots=True)
class Registry:
    """The older block for where images go. `type` None is W&B's word for none at all."""

    type: str | None = None
    destination: str | None = None


@dataclass(frozen=True, slots=True)
class LaunchConfig:
    """One agent, as its file and its command line describe it."""

    entity: str
    queues: tuple[str, ...]
    max_jobs: int = 1
    """Of the agent, over all its queues; -1 is no limit, and at 0 it takes nothing."""
    max_schedulers: int = 1
    secure_mode: bool = False
    environment: Environment | None = None
    registry: Registry | None = None
    builder: Mapping[str, Json] = field(default_factory=dict)
    """Without its destination, which is below."""
    destination: str | None = None
    """Where images are pushed, whichever of the two words said so."""
    verbosity: int = 0
    stopped_run_timeout: float = STOPPED_RUN_TIMEOUT
    given: frozenset[str] = frozenset()
    """The keys that were there, so that a default is not taken for a wish."""


def parse_launch_config(
    document: Json, *, entity: str | None = None, queues: Sequence[str] = (), max_jobs: int | None = None
) -> LaunchConfig:
    """The file as a LaunchConfig. The arguments are the command line's (`-e`, `-q`, `-j`), and win over the file.

    Total: any value gives a LaunchConfig or Invalid with every problem found. An empty file is an empty mapping.
    """
    reader = Reader.of({} if document is None else document, (*_FIELDS, *_ELSEWHERE))
    for key in filter(reader.fields.__contains__, _ELSEWHERE):
        reader.problem(key, "is no setting of a launch-config", fix=_ELSEWHERE[key])
    said: dict[str, Json] = {key: value for key, value in reader.fields.items() if value is not None}
    if queues:
        said = {**said, "queues": list(queues)}
        said.pop("queue", None)
    said |= {} if entity is None else {"entity": entity}
    said |= {} if max_jobs is None else {"max_jobs": max_jobs}
    reader.fields = said
    environment = _environment(reader)
    registry = _registry(reader, environment)
    builder = read_builder(reader.mapping("builder"), "builder", reader.problems, types=WANDB_BUILDERS)
    inside = builder.pop("destination", None)
    where = inside if isinstance(inside, str) else registry.destination if registry else None
    config = LaunchConfig(
        entity=reader.required(
            "entity", ENTITY_LENGTH, "Name the team or person that the queues belong to, or use -e."
        ),
        queues=_queues(reader),
        max_jobs=_count(reader, "max_jobs", 1, least=-1, meaning="a whole number from 0 up, or -1 for no limit"),
        max_schedulers=_count(reader, "max_schedulers", 1, least=-1, meaning="a whole number, or -1 for no limit"),
        secure_mode=reader.flag("secure_mode") or False,
        environment=environment,
        registry=registry,
        builder=builder,
        destination=where,
        verbosity=_count(reader, "verbosity", 0, least=0, meaning="a whole number from 0 up"),
        stopped_run_timeout=_seconds(reader),
        given=frozenset(said) & frozenset(_FIELDS),
    )
    reader.finish()
    return config


def _environment(reader: Reader) -> Environment | None:
    """W&B demands `region`, even of Azure, which has no use for one. Without it the SDK's own default counts."""
    block = reader.within("environment", ("type", "region", "project"))
    if not block.fields:
        return None
    kind = block.text("type")
    if not block.has("type"):
        block.problem("type", "is missing", fix=f"It is one of {', '.join(ENVIRONMENTS)}.")
    elif kind is not None and kind not in ENVIRONMENTS:
        block.problem("type", "is no environment", kind, nearest(kind, ENVIRONMENTS))
    return Environment(kind or "", block.name("region", 64), block.name("project", 128))


def _registry(reader: Reader, environment: Environment | None) -> Registry | None:
    fields = reader.mapping("registry")
    kind = fields.get("type")
    long = _LONG_FORMS.get(kind, ()) if isinstance(kind, str) else ()
    block = Reader(fields, ("type", "uri", *long), "registry", reader.problems)
    if not fields:
        return None
    kind = block.text("type")
    if kind is not None and kind not in REGISTRIES:
        block.problem("type", "is no registry", kind, nearest(kind, REGISTRIES))
    key, uri = "uri", block.text("uri")
    given = [word for word in long if block.has(word)]
    if uri is not None and given:
        block.problem("uri", f"is given, and {', '.join(given)} too", fix="Say it in one way: keep uri.")
    elif given and not block.has("uri"):
        key, uri = given[0], _assembled(block, str(kind), environment)
    if uri is None:
        return Registry(kind)
    if problem := broken_rule(uri, block.at(key)):
        block.problems.append(problem)
        return Registry(kind)
    parts = destination(uri)
    if kind in REGISTRIES and kind != parts.kind.value:
        block.problem(key, f"is no address of {kind}", uri, f"Write {FORMATS[Kind(kind)]}, or leave type out.")
    return Registry(kind, parts.address)


def _assembled(block: Reader, kind: str, environment: Environment | None) -> str | None:
    """The address of which a long form gives the pieces. W&B takes a project from the credentials; here it must be
    said, in the block or in the environment."""
    pieces = {key: block.text(key) for key in _LONG_FORMS[kind]}
    if kind == "gcr" and not block.has("project") and environment is not None:
        pieces["project"] = environment.project
    missing = [key for key, piece in pieces.items() if piece is None and not block.has(key)]
    for key in missing:
        block.problem(key, "is missing", fix="Give all of them, or uri in their place.")
    found = [piece for piece in pieces.values() if piece is not None]
    if len(found) < len(pieces):
        return None
    if kind == "ecr":
        return "{}.dkr.ecr.{}.amazonaws.com/{}".format(*found)
    return "{}-docker.pkg.dev/{}/{}/{}".format(*found)


def _queues(reader: Reader) -> tuple[str, ...]:
    """In their order, each once. `queue` is W&B's word for one more."""
    listed = reader.fields.get("queues", [])
    if not isinstance(listed, list):
        reader.problem("queues", "must be a list of names", listed, "Write a list, also for one: queues: [train].")
        listed = []
    places: list[tuple[str, Json]] = [(f"queues[{index}]", name) for index, name in enumerate(listed)]
    if reader.has("queue"):
        places.append(("queue", reader.fields["queue"]))
    names = []
    for place, name in places:
        found = Reader({place: name}, (place,), problems=reader.problems)
        if name is None:
            found.problem(place, "is empty")
        elif (known := found.name(place, QUEUE_LENGTH)) is not None:
            names.append(known)
    if not places:
        fix = "List them in the file, or name them with -q. The W&B app shows them on the Launch page."
        reader.problem("queues", "is missing: an agent without a queue has nothing to do", fix=fix)
    return tuple(dict.fromkeys(names))


def _count(reader: Reader, key: str, default: int, *, least: int, meaning: str) -> int:
    """A whole number; W&B takes one in quotes too."""
    value = reader.fields.get(key)
    if value is None:
        return default
    number = value
    if isinstance(value, str):
        digits = value.strip()
        number = int(digits) if digits.removeprefix("-").isdecimal() and len(digits) < 10 else None
    if is_number(number) and number == int(number) and int(number) >= least:
        return int(number)
    reader.problem(key, f"must be {meaning}", value)
    return default


def _seconds(reader: Reader) -> float:
    value = reader.number("stopped_run_timeout")
    if value is None:
        return STOPPED_RUN_TIMEOUT
    if value < 0:
        reader.problem("stopped_run_timeout", "must be 0 seconds or more", value)
    return value
