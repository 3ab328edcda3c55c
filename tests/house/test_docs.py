"""The documentation against the code: links, commands, make targets and fields. What is written must be there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer.main
import yaml
from dulwich import porcelain
from dulwich.errors import NotGitRepository
from tests.schemas.kubernetes_schemas import check_all

from slipway import macros
from slipway.adapters.memory.store import MemoryStore
from slipway.cli.main import app
from slipway.cli.options import Session
from slipway.errors import Invalid
from slipway.model import Stage, State, Timeouts
from slipway.queues import parse_queue
from slipway.spec import parse_submission
from slipway.web.app import create_app

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/**/*.md")])
CODE = re.compile(r"`([^`\n]+)`")
ANYBODY = {"docker_user", "me", "of-test", "slipway", "user"}
"""Names that stand for whoever reads, in paths such as /home/me."""


class Block(NamedTuple):
    """A fenced block: its language, and its lines."""

    page: Path
    language: str
    text: str


def blocks() -> Iterator[Block]:
    for page in PAGES:
        for fenced in re.finditer(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
            yield Block(page, fenced[1], fenced[2])


def prose(page: Path) -> str:
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def commands(program: str) -> list[tuple[str, str]]:
    """(page, command line) of every line in a block of shell that starts with the program, continuations joined."""
    found = []
    for block in blocks():
        if block.language not in ("sh", "console", "text"):
            continue
        for line in block.text.replace("\\\n", " ").splitlines():
            typed = line.removeprefix("$ ") if block.language != "sh" else line
            if typed.startswith(program + " ") and (block.language == "sh" or line.startswith("$ ")):
                found.append((block.page.name, typed))
    return found


def spoken(program: str) -> list[tuple[str, str]]:
    """(page, command) of every command in the running text."""
    return [
        (page.name, code)
        for page in PAGES
        for code in CODE.findall(prose(page))
        if code.startswith(program + " ") and "…" not in code
    ]


def typed_words(line: str) -> list[str]:
    words = []
    for word in shlex.split(line, comments=True)[1:]:
        if word in ("&", "&&", "|", ">"):
            break
        words.append(word)
    return words


def parse(words: list[str]) -> None:
    """Parses as the program would, and runs nothing. Raises what the parser raises."""
    command: Any = typer.main.get_command(app)
    context = command.make_context("slipway", words, obj=Session())
    while hasattr(command, "resolve_command"):
        rest = [*getattr(context, "_protected_args", []), *context.args]
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context, obj=Session())


def headings(page: Path) -> set[str]:
    """The anchors that a forge makes of a page's headings."""
    titles = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def section(page: Path, heading: str) -> str:
    return re.split(r"^## ", page.read_text().split(f"## {heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def first_column(table: str) -> set[str]:
    return {name for row in re.findall(r"^\| (.+?) \|", table, re.MULTILINE) for name in CODE.findall(row)}


def known(parse: Callable[[Mapping[str, Any]], object], inside: str | None = None) -> set[str]:
    """The fields that a parser knows, as it tells whoever writes one that it does not."""
    stray = {"?": 1}
    with pytest.raises(Invalid) as refusal:
        parse({inside: stray} if inside else stray)
    (told,) = [problem for problem in refusal.value.problems if problem.field in ("?", f"{inside}.?")]
    return set(told.fix.removeprefix("Known: ").split(", "))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} is not there"
        assert target.is_relative_to(ROOT), f"{link} leaves the repository"
        if anchor:
            assert anchor in headings(target), f"{link}: there is no such heading"


@pytest.mark.parametrize(("page", "line"), sorted(set(commands("slipway"))))
def test_every_command_that_is_shown_can_be_typed(page: str, line: str) -> None:
    parse(typed_words(line))


@pytest.mark.parametrize(("page", "code"), sorted(set(spoken("slipway"))))
def test_every_command_that_is_spoken_of_is_there(page: str, code: str) -> None:
    words = code.split()[1:]
    command: Any = typer.main.get_command(app)
    while words and hasattr(command, "commands"):
        assert words[0] in command.commands, f"slipway has no command {words[0]}"
        command = command.commands[words.pop(0)]
    options = {option for each in command.params for option in (*each.opts, *each.secondary_opts)}
    assert {word for word in words if word.startswith("-")} <= options


def test_a_command_that_is_not_there_is_noticed() -> None:
    for wrong in ("slipway sumbit -q train", "slipway submit --que train", "slipway queue aply file"):
        with pytest.raises(Exception, match=r"(?i)no such"):
            parse(typed_words(wrong))


def test_every_make_target_that_is_named_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+(?: [a-z-]+)*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    targets = {target for line in targets for target in line.split()}
    named = {line.split()[1] for _, line in [*commands("make"), *spoken("make")]}
    assert {"test", "lint", "run", "bench", "services"} <= named
    assert named <= targets


def test_the_readme_says_how_to_test() -> None:
    assert ("README.md", "make test") in commands("make")


@pytest.mark.parametrize(
    "block", [each for each in blocks() if each.language == "yaml"], ids=lambda each: each.page.name
)
def test_every_yaml_that_is_shown_is_taken(block: Block) -> None:
    document = yaml.safe_load(block.text)
    if "resource" in document:
        assert parse_queue(document, entity="ada")
    elif "uri" in document:
        assert parse_submission(document)
    elif "apiVersion" in document:
        check_all(document)
    else:
        assert parse_queue({**document, "name": "q", "resource": "local-process"}, entity="ada")


@pytest.mark.parametrize(
    ("page", "heading", "fields"),
    [
        ("queues", "Fields", known(parse_queue)),
        ("queues", "Timeouts", known(parse_queue, "timeouts")),
        ("queues", "Macros", {f"${{{name}}}" for name in macros.MACROS}),
        ("submitting", "The launch spec", known(parse_submission) | known(parse_submission, "overrides")),
        ("items", "States", {state.value for state in State}),
        ("items", "Stages", {stage.value for stage in Stage}),
    ],
    ids=["queue file", "timeouts", "macros", "launch spec", "states", "stages"],
)
def test_what_is_documented_is_what_there_is(page: str, heading: str, fields: set[str]) -> None:
    assert first_column(section(ROOT / "docs" / f"{page}.md", heading)) == fields


def test_the_timeouts_have_the_defaults_that_are_told() -> None:
    table = section(ROOT / "docs" / "queues.md", "Timeouts")
    told = {name: float(seconds) for name, seconds in re.findall(r"^\| `(\w+)` \| (\d+)", table, re.MULTILINE)}
    defaults = {name: getattr(Timeouts(), name) for name in known(parse_queue, "timeouts")}
    assert told == {name: seconds for name, seconds in defaults.items() if seconds is not None}


def test_every_flag_of_submit_is_documented_and_no_other() -> None:
    table = section(ROOT / "docs" / "submitting.md", "Flags")
    submit: Any = typer.main.get_command(app).commands["submit"]  # type: ignore[attr-defined]
    flags = {flag for each in submit.params for flag in each.opts if flag.startswith("-")}
    told = {name.split()[0] for name in first_column(table) if name.startswith("-")} - {"--"}
    longest = {max(each.opts, key=len) for each in submit.params if each.opts[0].startswith("-")}
    assert told <= flags
    assert {flag for flag in longest if flag not in told} <= {"--output"}


def test_every_option_of_up_is_documented_and_no_other() -> None:
    up: Any = typer.main.get_command(app).commands["up"]  # type: ignore[attr-defined]
    options = {option for each in up.params for option in (*each.opts, *each.secondary_opts)}
    told = {name.split()[0] for name in first_column(section(ROOT / "docs" / "running.md", "Options"))}
    assert told <= options
    assert options - told <= {"--http"}


def test_every_endpoint_is_documented_and_no_other() -> None:
    store = MemoryStore()
    spec = create_app(store).openapi()  # type: ignore[arg-type]
    served = {(verb.upper(), path) for path, verbs in spec["paths"].items() for verb in verbs}
    table = section(ROOT / "docs" / "http-api.md", "Endpoints")
    rows = re.findall(r"^\| `([A-Z]+)` \| `([^`]+)`", table, re.MULTILINE)
    assert {(verb, path.split("?")[0]) for verb, path in rows} == served


def test_every_guarantee_is_shown_by_what_is_there() -> None:
    page = ROOT / "docs" / "guarantees.md"
    shown = {name for name in CODE.findall(prose(page)) if re.fullmatch(r"[a-z]+(_[a-z0-9]+)+", name)}
    defined = {name for path in ROOT.glob("tests/**/*.py") for name in re.findall(r"def (\w+)\(", path.read_text())}
    assert shown - {"max_jobs"} <= defined
    promised = section(page, "The promises")
    rows = [row for row in re.findall(r"^\| ([^|]+) \| ([^|]*) \|$", promised, re.MULTILINE) if row[1] != "shown by"]
    assert len(rows) > 15
    assert [row for row in rows if not CODE.search(row[1])] == []


def test_nothing_that_is_committed_names_anyones_home() -> None:
    try:
        committed = [ROOT / name.decode() for name in porcelain.open_repo(str(ROOT)).open_index()]
    except NotGitRepository:
        pytest.skip("this is no git checkout")
    for path in filter(Path.is_file, committed):
        homes = set(re.findall(r"(?<![\w.}])/(?:home|Users)/([A-Za-z][\w-]*)", path.read_text("utf-8", "replace")))
        assert homes <= ANYBODY, f"{path} names a home folder"
