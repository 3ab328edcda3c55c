"""`slipway import`: what a W&B Launch agent was configured with, as queues of Slipway.

It applies queue files as `slipway queue apply` does, so a second run changes nothing. A queue that cannot be made here
keeps none of the others from being made.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slipway.cli.options import Data, Endpoint, Output
from slipway.cli.output import Format
from slipway.errors import AlreadyExists, Forbidden, Invalid, Problem, SlipwayError
from slipway.model import Json

if TYPE_CHECKING:
    from rich.console import Group

    from slipway.cli.client import Client
    from slipway.migration import Draft, Migration, Note

DEFAULT_FILE = "~/.config/wandb/launch-config.yaml"
_MINE = (Invalid, Forbidden, AlreadyExists)
"""What is wrong with one queue; anything else is wrong with all of them."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    name: str
    resource: str
    came_to: str
    file: str | None = None
    problems: tuple[Problem, ...] = ()
    queue: Json = None


def import_(
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE",
            help=f"A launch-config, or the values file of W&B's Helm chart; - reads standard input. "
            f"Default: {DEFAULT_FILE}.",
            show_default=False,
        ),
    ] = None,
    entity: Annotated[
        str | None,
        typer.Option(
            "-e", "--entity", metavar="NAME", help="Team or person. Default: the file's, else SLIPWAY_ENTITY."
        ),
    ] = None,
    queue: Annotated[
        list[str] | None,
        typer.Option("-q", "--queue", metavar="NAME", help="In place of the file's queues. Repeatable."),
    ] = None,
    max_jobs: Annotated[
        int | None, typer.Option("-j", "--max-jobs", metavar="N", help="In place of the file's; -1 is no limit.")
    ] = None,
    queue_config: Annotated[
        list[str] | None,
        typer.Option(
            "--queue-config",
            metavar="NAME=FILE",
            help="A queue's config, as on its Config tab in the W&B app: JSON or YAML. Repeatable.",
        ),
    ] = None,
    resource: Annotated[
        str | None,
        typer.Option(metavar="RESOURCE", help="What queue configs are for that do not say so: local-container, …"),
    ] = None,
    write: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the queue files there, and create nothing.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    output: Output = Format.TABLE,
    data: Data = None,
    endpoint: Endpoint = None,
) -> None:
    """Make queues of what a W&B Launch agent was configured with, and say what becomes of each setting.

    Example: slipway import --queue-config train=train.yaml
    """
    from slipway.cli.client import connect
    from slipway.cli.output import show
    from slipway.cli.queues import tell_held
    from slipway.launch_config import parse_launch_config
    from slipway.migration import migrate

    document, notes = _read(file, queue or ())
    if entity is None and isinstance(document, Mapping) and document.get("entity") is None:
        entity = os.environ.get("SLIPWAY_ENTITY") or None
    config = parse_launch_config(document, entity=entity, queues=queue or (), max_jobs=max_jobs)
    configs = _queue_configs(queue_config or (), config.queues)
    migration = migrate(config, configs, resource=resource)
    migration = replace(migration, notes=(*migration.notes, *notes))
    if dry_run:
        outcomes = [_outcome(draft, "would be made") for draft in migration.drafts]
    elif write is not None:
        outcomes = [_write(draft, write.expanduser()) for draft in migration.drafts]
    else:
        client = connect(endpoint, data)
        outcomes = [_create(draft, client) for draft in migration.drafts]
    show(_document(config.entity, outcomes, migration), output, lambda: _drawing(config.entity, outcomes, migration))
    if output is Format.TABLE:
        for each in outcomes:
            if each.queue:
                tell_held(each.queue)
    problems = [
        Problem(f"{each.name}: {problem.field}", problem.rule, problem.value, problem.fix)
        for each in outcomes
        for problem in each.problems
    ]
    if problems:
        raise Invalid(problems)


def _read(file: str | None, queues: Sequence[str]) -> tuple[Json, tuple[Note, ...]]:
    """The launch-config, and the notes on what was around it. A values file holds it as text, or as a mapping."""
    from slipway.cli.launch_spec import parse, read
    from slipway.helm_values import helm_values

    if file is None and not Path(DEFAULT_FILE).expanduser().exists():
        if queues:
            return {}, ()
        fix = "Name the file: `slipway import FILE`; or the queues, with -q."
        raise Invalid(Problem("FILE", "is left out, and there is none at the default place", DEFAULT_FILE, fix))
    where = "standard input" if file == "-" else file or DEFAULT_FILE
    document = parse(sys.stdin.read() if file == "-" else read(Path(where), "FILE"), where)
    values = helm_values(document)
    if values is None:
        return document, ()
    config = values.config
    return parse(config, f"{where}, {values.key}") if isinstance(config, str) else config, values.notes


def _queue_configs(pairs: Sequence[str], queues: Sequence[str]) -> dict[str, Json]:
    from slipway.cli.launch_spec import parse, read
    from slipway.errors import nearest

    configs, problems = dict[str, Json](), list[Problem]()
    for pair in pairs:
        name, equals, file = pair.partition("=")
        if not equals or not name or not file:
            problems.append(Problem("--queue-config", "is not NAME=FILE", pair))
        elif name not in queues:
            problems.append(Problem("--queue-config", "is for no queue of this agent", name, nearest(name, queues)))
        elif name in configs:
            problems.append(Problem("--queue-config", "is given twice for one queue", name))
        else:
            try:
                inline = file.lstrip().startswith("{")
                text = file if inline else read(Path(file), f"--queue-config {name}")
                configs[name] = parse(text, f"--queue-config {name}" if inline else file)
            except Invalid as refusal:
                problems += refusal.problems
    if problems:
        raise Invalid(problems)
    return configs


def _outcome(draft: Draft, came_to: str) -> _Outcome:
    if draft.queue is None:
        return _Outcome(draft.name, "", "not made", problems=draft.problems)
    return _Outcome(draft.name, draft.queue.resource, came_to)


def _write(draft: Draft, folder: Path) -> _Outcome:
    """A file that is there and says something else may have been edited, and stays."""
    from slipway.cli.output import dump

    if draft.document is None:
        return _outcome(draft, "")
    file, text = folder / f"{draft.name}.yaml", dump(dict(draft.document), Format.YAML) + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if file.exists():
            if file.read_bytes() == text.encode():
                return replace(_outcome(draft, "unchanged"), file=str(file))
            fix = "Remove it, or name another folder."
            problem = Problem("--write", "the file is there and says something else", str(file), fix)
            return replace(_outcome(draft, "not written"), file=str(file), problems=(problem,))
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        problem = Problem("--write", f"cannot be written: {error.strerror}", str(file))
        return replace(_outcome(draft, "not written"), problems=(problem,))
    return replace(_outcome(draft, "written"), file=str(file))


def _create(draft: Draft, client: Client) -> _Outcome:
    from slipway.cli.queues import put

    if draft.document is None:
        return _outcome(draft, "")
    try:
        queue, came_to = put(client, draft.document, draft.document["entity"])
    except _MINE as error:
        return replace(_outcome(draft, "not made"), problems=tuple(_elsewhere(error)))
    return replace(_outcome(draft, came_to), queue=queue)


def _elsewhere(error: SlipwayError) -> Iterator[Problem]:
    """The file itself was checked before it was sent: what is refused now may be taken where more can run."""
    for problem in error.problems if isinstance(error, Invalid) else [Problem("queue", error.message)]:
        keep = "Keep its file with --write DIR, and apply it where that can run."
        if problem.field in ("resource", "builder.type") and problem.rule.startswith("this deployment"):
            yield replace(problem, fix=keep)
        elif problem.field == "KUBECONFIG":
            yield replace(problem, fix=f"{problem.fix} {keep}")
        else:
            yield problem


def _document(entity: str, outcomes: Sequence[_Outcome], migration: Migration) -> Json:
    from slipway.cli.failure import problem_document

    return {
        "entity": entity,
        "queues": [
            {
                "name": each.name,
                "resource": each.resource or None,
                "result": each.came_to,
                "file": each.file,
                "problems": [problem_document(problem) for problem in each.problems],
            }
            for each in outcomes
        ],
        "notes": [{"what": each.what, "verdict": each.verdict.value, "text": each.text} for each in migration.notes],
    }


def _drawing(entity: str, outcomes: Sequence[_Outcome], migration: Migration) -> Group:
    """The queues, then the notes, those first that need nobody's attention."""
    from rich.console import Group
    from rich.text import Text

    from slipway.cli.output import fields, table
    from slipway.migration import Verdict

    columns = ["QUEUE", "RESOURCE", "RESULT"]
    rows = [[f"{entity}/{each.name}", each.resource, each.came_to] for each in outcomes]
    if any(each.file for each in outcomes):
        columns.append("FILE")
        rows = [[*row, each.file or ""] for row, each in zip(rows, outcomes, strict=True)]
    drawn: list[object] = [table(columns, rows, folding=("FILE",))]
    for verdict in Verdict:
        told = [(each.what, each.text) for each in migration.notes if each.verdict is verdict]
        if told:
            drawn += ["", Text(verdict.value.upper(), style="bold"), fields(told)]
    return Group(*drawn)  # type: ignore[arg-type]
