"""From a W&B Launch agent to Slipway's queues: the queue files, and what becomes of each setting.

An agent polls its queues with one set of settings; Slipway has no agent, and each queue has its own. So most settings
move into every queue, some into the deployment, and a few have nothing left to do. Each is a note with a verdict, so
that nobody has to find out afterwards. W&B keeps a queue's config on its server: it is taken from what the user gives.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from slipway.builders import lacks_context_store
from slipway.documents import Reader
from slipway.errors import Invalid, Problem
from slipway.launch_config import Environment, LaunchConfig, Registry
from slipway.model import Json, Queue
from slipway.queues import parse_queue
from slipway.registries import destination, remark
from slipway.resources import resource_named, unwrap


class Verdict(StrEnum):
    """Whether a setting means the same in Slipway."""

    SAME = "same"
    DIFFERS = "differs"
    NONE = "no counterpart"


class Note(NamedTuple):
    """What becomes of one setting: its path in the file, and what it is in Slipway or why it is not needed."""

    what: str
    verdict: Verdict
    text: str


@dataclass(frozen=True, slots=True)
class Draft:
    """One queue: the file that makes it, and the queue that the file makes; None where problems stand in the way."""

    name: str
    document: Mapping[str, Json] | None
    queue: Queue | None
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Migration:
    """Everything that an import comes to, before anything is done."""

    drafts: tuple[Draft, ...]
    notes: tuple[Note, ...]


def migrate(config: LaunchConfig, configs: Mapping[str, Json], *, resource: str | None = None) -> Migration:
    """A queue file for each of the agent's queues whose config is in `configs`, and the notes.

    `resource` is for configs that name none. Total: whatever a config is, its queue is a file or has its problems.
    """
    drafts, notes = [], []
    for name in config.queues:
        draft, told = _draft(config, name, configs, resource)
        drafts.append(draft)
        notes += told
    resources = {draft.queue.resource for draft in drafts if draft.queue is not None}
    unknown = [name for name in config.queues if name not in configs]
    return Migration(tuple(drafts), (*_notes(config, resources, unknown), *notes))


_CONFIG_WORDS = ("config", "resource_config", "default_resource_config", "resource_args")
_RESOURCE_WORDS = ("resource", "resource_type", "type")
_VARIABLE_WORDS = ("template_variables", "templateVariables")
_MODE_WORDS = ("prioritization_mode", "prioritizationMode")
_LINK_WORDS = ("external_links", "externalLinks")
_HOW_TO_GET_ONE = (
    "open the queue on the Launch page of the W&B app, copy its Config tab into a file, and give it with "
    "--queue-config NAME=FILE"
)


class _Given(NamedTuple):
    """A queue as W&B's API or app describes it, whichever of their words it uses."""

    resource: Json
    config: Json
    variables: Json
    mode: Json
    links: Json


def _draft(
    config: LaunchConfig, name: str, configs: Mapping[str, Json], resource: str | None
) -> tuple[Draft, list[Note]]:
    if name not in configs:
        fix = f"Give it with --queue-config {name}=FILE."
        return Draft(name, None, None, (Problem("resource_args", "is not known", fix=fix),)), []
    try:
        given = _given(configs[name])
        document = _document(config, name, given, resource)
        queue = parse_queue(document)
    except Invalid as refusal:
        return Draft(name, None, None, tuple(_told(each) for each in refusal.problems)), []
    what = f"queue {name}"
    notes = [Note(what, Verdict.SAME, f"its config moves as it is, to {queue.resource}")]
    if queue.template_variables:
        listed = ", ".join(queue.template_variables)
        notes.append(Note(f"{what}: template variables", Verdict.SAME, f"declared in the queue file: {listed}"))
    else:
        text = (
            "W&B takes changes of it from a submission; here overridable_fields opens what may change, nothing at first"
        )
        notes.append(Note(f"{what}: overrides", Verdict.DIFFERS, text))
    if given.mode is not None:
        order = "by priority, then by age" if queue.prioritization else "first in, first out"
        notes.append(Note(f"{what}: prioritization", Verdict.SAME, order))
    if given.links:
        notes.append(Note(f"{what}: external links", Verdict.NONE, "nothing shows them; keep them where people look"))
    return Draft(name, document, queue), notes


def _told(problem: Problem) -> Problem:
    if problem.field == "resource" and problem.rule == "is missing":
        return Problem("resource", "is missing: the config does not say what it is for", fix="Name it with --resource.")
    return problem


def _given(document: Json) -> _Given:
    """A config alone, bare or nested by resource, or one with what belongs to it beside it."""
    words = [word for word in _CONFIG_WORDS if isinstance(document, Mapping) and word in document]
    if not words:
        return _Given(None, document, None, None, None)
    known = (*_CONFIG_WORDS, *_RESOURCE_WORDS, *_VARIABLE_WORDS, *_MODE_WORDS, *_LINK_WORDS, "name", "entity")
    reader = Reader.of(document, known)
    for word in words[1:]:
        reader.problem(word, f"is given, and {words[0]} too", fix="They are two words for one thing: keep one.")

    def first(*names: str) -> Json:
        return next((reader.fields[each] for each in names if reader.has(each)), None)

    variables = _variables(_loaded(first(*_VARIABLE_WORDS)), reader.problems)
    reader.finish()
    config = _loaded(first(*_CONFIG_WORDS))
    return _Given(first(*_RESOURCE_WORDS), config, variables, first(*_MODE_WORDS), first(*_LINK_WORDS))


def _variables(declared: Json, problems: list[Problem]) -> Json:
    """W&B's API answers with a list of names and schemas, a schema being JSON in a string."""
    if not isinstance(declared, list):
        return declared
    by_name: dict[str, Json] = {}
    for index, each in enumerate(declared):
        where = f"template_variables[{index}]"
        if not isinstance(each, Mapping):
            problems.append(Problem(where, "must be a mapping with name and schema", each))
            continue
        reader = Reader(each, ("name", "schema", "description"), where, problems)
        name = reader.text("name")
        if not reader.has("name"):
            reader.problem("name", "is missing")
        if name is not None:
            words = {"description": reader.fields["description"]} if reader.has("description") else {}
            by_name[name] = {"schema": _loaded(reader.fields.get("schema")), **words}
    return by_name


def _loaded(value: Json) -> Json:
    """JSON in a string, as W&B's API gives it, taken out; what is no JSON stays, for others to refuse."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _document(config: LaunchConfig, name: str, given: _Given, resource: str | None) -> dict[str, Json]:
    """The queue file: what differs from a queue's defaults, in the order in which people read it."""
    args = given.config
    if isinstance(args, Mapping) and set(args) == {"resource_args"}:
        args = args["resource_args"]
    named = unwrap(args, "resource_args", [])[0] if isinstance(args, Mapping) else None
    said = given.resource if given.resource is not None else None if named else resource
    known = named or (resource_named(said) if isinstance(said, str) else None)
    document: dict[str, Json] = {
        "name": name,
        "entity": config.entity,
        "resource": said if said is not None else named,
        "max_jobs": config.max_jobs or 1,
        "resource_args": {} if args is None else args,
        "template_variables": given.variables,
        "prioritization_mode": given.mode,
        "builder": {} if known == "local-process" else _builder(config),
        "secure_mode": config.secure_mode or None,
        "paused": config.max_jobs == 0 or None,
    }
    if "stopped_run_timeout" in config.given and config.stopped_run_timeout > 0:
        document["timeouts"] = {"stop": config.stopped_run_timeout}
    return {field: value for field, value in document.items() if value is not None and value != {}}


def _builder(config: LaunchConfig) -> dict[str, Json]:
    said = {key: value for key, value in config.builder.items() if value is not None}
    return {**said, "destination": config.destination} if config.destination else said


def _notes(config: LaunchConfig, resources: set[str], unknown: Sequence[str]) -> Iterator[Note]:
    same, differs, none = Verdict
    yield Note("entity", same, f"each queue belongs to {config.entity}")
    yield Note("queues", same, f"one queue file each: {', '.join(config.queues)}")
    if unknown:
        yield Note("queue configs", differs, f"a launch-config holds none. Of {', '.join(unknown)}: {_HOW_TO_GET_ONE}")
    yield _max_jobs(config)
    if "max_schedulers" in config.given:
        yield Note("max_schedulers", none, "a sweep needs no scheduler process, so there is nothing to limit")
    if config.secure_mode:
        yield Note("secure_mode", same, "of each queue: submitters may set neither entry point nor command")
    elif "secure_mode" in config.given:
        yield Note("secure_mode", same, "off, as in each queue by default")
    if config.environment is not None:
        yield from _environment(config.environment)
    if config.registry is not None:
        yield from _registry(config.registry, config)
    yield from _builder_notes(config, resources)
    if "verbosity" in config.given:
        text = "no agent prints its status: `slipway ps`, `slipway explain` and `slipway logs` answer when asked"
        yield Note("verbosity", none, text)
    if "stopped_run_timeout" in config.given:
        if config.stopped_run_timeout > 0:
            text = f"timeouts.stop of each queue: {config.stopped_run_timeout:g} s until a run is asked to stop again"
        else:
            text = "0 has no meaning here: timeouts.stop keeps its default, 70 s"
        yield Note("stopped_run_timeout", differs, text)
    text = "no process polls: a submission itself starts what follows. Stop the agent when its last run is over"
    yield Note("the agent", none, text)


def _max_jobs(config: LaunchConfig) -> Note:
    jobs, count = config.max_jobs, len(config.queues)
    if jobs == 0:
        text = "at 0 an agent takes nothing: each queue is made paused, until `slipway queue resume`"
        return Note("max_jobs", Verdict.DIFFERS, text)
    if jobs == -1:
        return Note("max_jobs", Verdict.SAME, "-1, no limit, of each queue")
    if count == 1:
        default = "" if "max_jobs" in config.given else ", the default of both"
        return Note("max_jobs", Verdict.SAME, f"{jobs} of the queue{default}")
    text = (
        f"{jobs} for the agent's {count} queues together; here a queue has its own, so each gets {jobs} and up to "
        f"{jobs * count} run at once. Lower them in the queue files where that is too much"
    )
    return Note("max_jobs", Verdict.DIFFERS, text)


def _environment(environment: Environment) -> Iterator[Note]:
    what = ", ".join(each for each in (environment.region, environment.project) if each)
    text = f"account, region and credentials are the deployment's own{f' ({what})' if what else ''}; none are copied"
    yield Note("environment", Verdict.DIFFERS, text)
    if environment.type in ("aws", "gcp") and environment.region is None:
        yield Note("environment.region", Verdict.DIFFERS, "is left out, so it is the default of the cloud's SDK")


def _registry(registry: Registry, config: LaunchConfig) -> Iterator[Note]:
    if registry.destination is None:
        if registry.type is not None:
            text = (
                "names no repository: set builder.destination in the queue files, or images stay where they are built"
            )
            yield Note("registry", Verdict.DIFFERS, text)
    elif registry.destination != config.destination:
        yield Note("registry", Verdict.SAME, "builder.destination wins over it, as in W&B")
    elif registry.type is None:
        text = "becomes builder.destination of each queue; W&B ignores a uri without a type, and pushes nothing"
        yield Note("registry", Verdict.DIFFERS, text)
    else:
        yield Note("registry", Verdict.DIFFERS, "becomes builder.destination of each queue: the newer of W&B's words")


def _builder_notes(config: LaunchConfig, resources: set[str]) -> Iterator[Note]:
    same, differs, _ = Verdict
    builder = _builder(config)
    if not builder:
        yield Note("builder", same, "none given: docker where there is a docker command, else noop, as W&B's agent")
    elif not builder.get("type"):
        text = "none given, at which W&B's agent ends; here it is docker where there is a docker command, else noop"
        yield Note("builder.type", differs, text)
    elif builder["type"] == "kaniko":
        text = (
            "kaniko, of each queue: it builds in the cluster that KUBECONFIG or SLIPWAY_KUBERNETES_CLUSTER names to "
            "Slipway. Where there is none the queue is refused"
        )
        yield Note("builder.type", same, text)
    else:
        yield Note("builder.type", same, f"{builder['type']}, of each queue")
    if config.destination:
        yield Note("builder.destination", same, f"of each queue: images are pushed to {config.destination}")
        parts = destination(config.destination)
        if told := remark(parts):
            yield Note("builder.destination", differs, told)
        region = config.environment.region if config.environment else None
        if parts.region and region and parts.region != region:
            text = (
                f"is in {parts.region}, and the environment in {region}: each image crosses regions when it is pulled"
            )
            yield Note("builder.destination", differs, text)
    for key in builder:
        if key not in ("type", "destination"):
            secret = "; the secret itself stays where it is" if key.startswith("secret-") else ""
            yield Note(f"builder.{key}", same, f"in the builder of each queue{secret}")
    if lacks_context_store(builder):
        text = (
            "is missing: kaniko needs a bucket for its context, unless it is given a volume. Add it to the queue files"
        )
        yield Note("builder.build-context-store", differs, text)
    if builder and "local-process" in resources:
        text = "left out of local-process queues: those run in an environment and need no image"
        yield Note("builder", differs, text)
