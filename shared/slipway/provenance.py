"""What an image is made of, as people and programs read it, and what of that differs between two.

What looks like a secret is masked here as everywhere. A difference that only masked values make is said to be there,
and not shown.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slipway.context import Entry
from slipway.dockerfile import starting_images
from slipway.image import ImagePlan
from slipway.model import ImageSource, Item, Json
from slipway.views import MASK, masked

DECIDING = ("builder", "dockerfile_choice", "dockerfile_path", "base_images", "platform", "python_version", "user")
"""Fields of a document whose difference is told as it is; that of build arguments, Dockerfile and files in pieces."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """An item with the plan of its image, made anew from the recorded revision."""

    item: Item
    plan: ImagePlan
    sizes: Mapping[str, int]
    """Path of each of the plan's entries → bytes."""

    @property
    def reproduced(self) -> bool:
        """Whether the plan is that of the item's image. If not, it is as near as this Slipway comes."""
        return self.plan.tag == self.item.source_hash


def provenance_document(of: Provenance, *, files: bool = False) -> dict[str, Json]:
    """All inputs of the image. `files`: each file too, not only their number."""
    item, plan = of.item, of.plan
    source = item.submission.job.source
    assert not isinstance(source, ImageSource)
    return {
        "item": item.id,
        "image": item.image,
        "source_hash": item.source_hash,
        "recomputed": plan.tag,
        "reproduced": of.reproduced,
        "note": "" if of.reproduced else _not_reproduced(item, plan),
        "source": masked(source.uri),
        "revision": item.revision,
        "builder": plan.builder,
        "dockerfile_choice": plan.choice.value,
        "dockerfile_path": plan.dockerfile_path or None,
        "dockerfile": masked(plan.dockerfile),
        "base_images": [
            {"image": image, "pinned": "@sha256:" in image} for image in starting_images(masked(plan.dockerfile))
        ],
        "build_args": masked(plan.build_args),
        "platform": plan.platform,
        "python_version": plan.python_version,
        "user": plan.user or None,
        "file_count": len(plan.entries),
        "total_bytes": sum(_bytes(entry, of.sizes) for entry in plan.entries),
        "files": [_file(entry, of.sizes) for entry in plan.entries] if files else None,
    }


def differences(one: Mapping[str, Json], other: Mapping[str, Json]) -> dict[str, Json]:
    """What differs between two documents that have their files, and in `verdict` one sentence on the whole.

    `same` is whether they have one source hash. Values are pairs, of the first and of the second.
    """
    fields = {name: [one[name], other[name]] for name in DECIDING if one[name] != other[name]}
    build_args = _pairs(one["build_args"], other["build_args"])
    dockerfile = _dockerfile_diff(one, other)
    before, after = _by_path(one), _by_path(other)
    files = {
        "added": sorted(after.keys() - before.keys()),
        "removed": sorted(before.keys() - after.keys()),
        "changed": [
            {"path": path, "from": before[path], "to": after[path]}
            for path in sorted(before.keys() & after.keys())
            if before[path] != after[path]
        ],
    }
    in_words = [
        *(name.replace("_", " ") for name in fields),
        *(["build arguments"] if build_args else []),
        *(["the Dockerfile's text"] if dockerfile else []),
        *(["files"] if any(files.values()) else []),
    ]
    return {
        "items": [one["item"], other["item"]],
        "source_hashes": [one["source_hash"], other["source_hash"]],
        "same": one["source_hash"] == other["source_hash"],
        "verdict": _verdict(one, other, in_words),
        "revisions": [one["revision"], other["revision"]] if one["revision"] != other["revision"] else None,
        "fields": fields,
        "build_args": build_args,
        "dockerfile_diff": dockerfile,
        "files": files,
        "notes": [f"{each['item']}: {each['note']}" for each in (one, other) if each["note"]],
    }


def _not_reproduced(item: Item, plan: ImagePlan) -> str:
    return (
        f"the source hash of what is listed here is {plan.tag}, and not the item's {item.source_hash}. Its image was "
        "made by another version of Slipway, or by one with another Python or another default builder; "
        "listed is what this Slipway would make of the same revision"
    )


def _bytes(entry: Entry, sizes: Mapping[str, int]) -> int:
    return sizes.get(entry.path, 0) if entry.kind == "file" else 0


def _file(entry: Entry, sizes: Mapping[str, int]) -> dict[str, Json]:
    link = entry.kind == "link"
    return {
        "path": entry.path,
        "kind": "executable" if entry.executable else entry.kind,
        "sha256": None if link else entry.content,
        "target": entry.content if link else None,
        "bytes": _bytes(entry, sizes),
    }


def _pairs(one: Mapping[str, Json], other: Mapping[str, Json]) -> dict[str, list[Json]]:
    names = sorted(one.keys() | other.keys())
    return {name: [one.get(name), other.get(name)] for name in names if one.get(name) != other.get(name)}


def _dockerfile_diff(one: Mapping[str, Json], other: Mapping[str, Json]) -> str:
    if one["dockerfile"] == other["dockerfile"]:
        return ""
    before, after = (_lines(each["dockerfile"]) for each in (one, other))
    return "\n".join(difflib.unified_diff(before, after, str(one["item"]), str(other["item"]), lineterm=""))


def _lines(text: str) -> list[str]:
    """Ended by line feeds alone, as Docker reads them; that the last one is missing is a difference too."""
    if text.endswith("\n"):
        return text[:-1].split("\n")
    return [*text.split("\n"), "\\ No newline at end of file"] if text else []


def _by_path(document: Mapping[str, Json]) -> dict[str, str]:
    files: list[dict[str, Any]] = document["files"]
    return {file["path"]: f"{file['kind']} {file['sha256'] or file['target']}" for file in files}


def _verdict(one: Mapping[str, Json], other: Mapping[str, Json], in_words: list[str]) -> str:
    if one["source_hash"] == other["source_hash"]:
        same = f"The same: both have the source hash {one['source_hash']}"
        if one["revision"] != other["revision"]:
            return f"{same}. Their revisions differ, in nothing that the image is made from."
        return f"{same}."
    if in_words:
        return f"Not the same: they differ in {_listed(in_words)}."
    if one["recomputed"] == other["recomputed"]:
        return (
            "Made of the same, under two source hashes: one of the two was made by another version of Slipway, "
            f"and this one would name both {one['recomputed']}."
        )
    hidden = [name for name, value in one["build_args"].items() if value == MASK]
    named = f"the value of {_listed(hidden)}, or " if hidden else ""
    return f"Not the same: they differ only in what is masked: {named}a login in an address of the Dockerfile."


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
