"""Commands about images: `slipway image explain`, which lists what an item's image is made of, or what differs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from slipway.cli.options import Data, Endpoint, ItemName, Output
from slipway.cli.output import Format
from slipway.model import Json

if TYPE_CHECKING:
    from rich.console import Group
    from rich.text import Text

app = typer.Typer(no_args_is_help=True, help="What images are made of.")

PATIENCE = 600.0
"""Seconds to wait for the answer: the source is fetched for it."""


@app.command()
def explain(
    item: ItemName,
    other: Annotated[
        str | None,
        typer.Argument(metavar="ITEM2", help="A second item: tells only what differs.", show_default=False),
    ] = None,
    files: Annotated[bool, typer.Option("--files", help="Each file too, with its digest.")] = False,
    output: Output = Format.TABLE,
    data: Data = None,
    endpoint: Endpoint = None,
) -> None:
    """List what an item's image is made of, all of which its source hash is made of; for two items, what differs.

    The source is fetched again for it, at the revision that was built.

    Example: slipway image explain 0dh2v6kq
    """
    from slipway.cli.client import connect, path
    from slipway.cli.find import find
    from slipway.cli.output import show
    from slipway.provenance import differences

    client = connect(endpoint, data)

    def made_of(name: str, *, files: bool) -> Json:
        where = path("items", find(client, name), "image")
        return client.request("GET", where, params={"files": files}, timeout=PATIENCE).json()

    if other is None:
        document = made_of(item, files=files)
        show(document, output, lambda: _one(document))
    else:
        told = differences(made_of(item, files=True), made_of(other, files=True))
        show(told, output, lambda: _two(told))


@app.command("with-secrets")
def with_secrets() -> None:
    """Print the program that fetches a run's secrets on SageMaker, to start an image of your own through it.

    Example: slipway image with-secrets > with-secrets.py
    """
    from slipway.render.secrets import program

    print(program(), end="")


_CHOICES = {
    "job": "the job's own, {path}",
    "beside": "{path}, beside the entry point",
    "generated": "generated",
    "none": "none: a virtual environment",
}


def _one(document: Json) -> Group:
    from rich.console import Group
    from rich.text import Text

    from slipway.cli.output import fields, table

    generated = document["dockerfile_choice"] == "generated"
    pairs = [
        ("item", document["item"]),
        ("image", document["image"] or ""),
        ("source hash", document["source_hash"]),
        ("warning", Text(document["note"], style="yellow") if document["note"] else ""),
        ("source", document["source"]),
        ("revision", document["revision"]),
        ("builder", document["builder"]),
        ("Dockerfile", _CHOICES[document["dockerfile_choice"]].format(path=document["dockerfile_path"])),
        *(("base image", _base(each)) for each in document["base_images"]),
        *(("build argument", f"{name}={value}") for name, value in document["build_args"].items()),
        ("platform", document["platform"] or "the builder's own"),
        ("Python", document["python_version"] or "as the Dockerfile has it"),
        ("user", document["user"] or ("" if generated or not document["dockerfile"] else "as the Dockerfile has it")),
        ("files", f"{document['file_count']}, {document['total_bytes']:,} bytes"),
    ]
    parts: list[object] = [fields(pairs)]
    if document["dockerfile"]:
        parts += [Text(), Text(document["dockerfile"].rstrip("\n"))]
    if document["files"] is not None:
        rows = ((_digest(each), each["kind"], f"{each['bytes']:,}", each["path"]) for each in document["files"])
        parts += [Text(), table(("SHA-256", "KIND", "BYTES", "FILE"), rows, folding=("FILE",))]
    return Group(*parts)  # type: ignore[arg-type]


def _base(image: Json) -> str:
    pinned = "pinned by its digest" if image["pinned"] else "a name, hashed as text: tomorrow it may be another image"
    return f"{image['image']} ({pinned})"


def _digest(file: Json) -> str:
    return file["sha256"] or f"-> {file['target']}"


def _two(told: Json) -> Group:
    from rich.console import Group
    from rich.text import Text

    from slipway.cli.output import fields

    parts: list[object] = [Text(told["verdict"]), *(Text(note, style="yellow") for note in told["notes"])]
    pairs = list(_changes(told))
    if pairs:
        parts += [Text(), fields(pairs)]
    if told["dockerfile_diff"]:
        parts += [Text(), *map(_coloured, told["dockerfile_diff"].split("\n"))]
    return Group(*parts)  # type: ignore[arg-type]


def _changes(told: Json) -> Iterator[tuple[str, str]]:
    if told["revisions"]:
        yield "revision", _arrow(told["revisions"])
    for name, pair in told["fields"].items():
        if name == "base_images":
            pair = [", ".join(each["image"] for each in images) for images in pair]
        yield name.replace("_", " "), _arrow(pair)
    for name, pair in told["build_args"].items():
        yield f"build argument {name}", _arrow(pair)
    yield from (("file added", path) for path in told["files"]["added"])
    yield from (("file removed", path) for path in told["files"]["removed"])
    for change in told["files"]["changed"]:
        yield "file changed", f"{change['path']}  {_arrow(_short(change['from'], change['to']))}"


def _arrow(pair: Json) -> str:
    before, after = ("(none)" if each in (None, "") else str(each) for each in pair)
    return f"{before} → {after}"


def _short(before: str, after: str) -> list[str]:
    """Digests that differ do so early; what kind of file it is stands only where that has changed."""
    kinds, contents = zip(*(each.split(" ", 1) for each in (before, after)), strict=True)
    shown = [content if kind == "link" else content[:12] for kind, content in zip(kinds, contents, strict=True)]
    return shown if kinds[0] == kinds[1] else [f"{kind} {content}" for kind, content in zip(kinds, shown, strict=True)]


def _coloured(line: str) -> Text:
    from rich.text import Text

    return Text(line, style={"+": "green", "-": "red", "@": "cyan"}.get(line[:1], ""))
