"""Which packages a source tree asks for, and which of its files an installer must see to install them.

The second question decides the order of an image's layers: where the dependency files suffice, a change of code
does not install anything again.
The order of the files is W&B Launch's: requirements.txt, pyproject.toml, requirements.frozen.txt.
"""

from __future__ import annotations

import posixpath
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slipway.context import Entry, locate
from slipway.errors import Invalid, Permanent, Problem


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What to install. Falsy when there is nothing."""

    arguments: tuple[str, ...] = ()
    """After `pip install` or `uv pip install`, run at the root of the tree."""
    files: tuple[str, ...] = ()
    """What the installer reads of the tree; sorted."""
    whole_tree: bool = False
    """`files` are not enough: something in the tree itself is installed."""

    def __bool__(self) -> bool:
        return bool(self.arguments)


def dependencies(root: Path, entries: Sequence[Entry]) -> Dependencies:
    """What the tree asks for, by the first of the three files that it has.

    Raises:
        Invalid: pyproject.toml is not TOML, or its `[project].dependencies` is not a list of requirements.
        Permanent: a dependency file is not UTF-8.
    """
    kinds = {entry.path: entry.kind for entry in entries}
    if "requirements.txt" in kinds:
        return _of_requirements(root, kinds, "requirements.txt")
    if "pyproject.toml" in kinds:
        declared = _of_pyproject(_text(root, "pyproject.toml"))
        if declared is not None:
            return declared
    if "requirements.frozen.txt" in kinds:
        # Frozen means complete: resolving again could only disagree with what was frozen.
        return _of_requirements(root, kinds, "requirements.frozen.txt", "--no-deps")
    return Dependencies()


def _of_requirements(root: Path, kinds: dict[str, str], name: str, *options: str) -> Dependencies:
    installs = whole_tree = False
    seen: set[str] = set()
    ahead = [name]
    while ahead:
        file = ahead.pop()
        if file in seen:
            continue
        seen.add(file)
        if kinds.get(file) != "file":
            # A link, something behind a link, or not there at all: let the installer find it, or say so.
            whole_tree = True
            installs = installs or file in kinds
            continue
        for line in _lines(_text(root, file)):
            if include := _INCLUDE.match(line):
                ahead.append(posixpath.normpath(posixpath.join(posixpath.dirname(file), include["file"])))
                continue
            installs = installs or not line.startswith("-") or _EDITABLE.match(line) is not None
            whole_tree = whole_tree or _installs_from_tree(line)
    if not installs:
        return Dependencies()
    files = tuple(sorted(seen & kinds.keys()))
    return Dependencies((*options, "-r", name), files, whole_tree)


_INCLUDE = re.compile(r"(?:-r|-c|--requirement|--constraint)(?:\s*=\s*|\s*)(?P<file>\S+)")
_EDITABLE = re.compile(r"(?:-e|--editable)\b")
_LOCAL_LINKS = re.compile(r"(?:-f|--find-links)(?:\s*=\s*|\s*)(?!\S*:)\S")
_PATH = re.compile(r"[^\s;@]*/|\.|[^\s;]+\.(?:whl|zip|tar\.\w+|tgz)(?:\s|;|$)")


def _installs_from_tree(line: str) -> bool:
    """Whether a line of a requirements file names something beside the file: `-e .`, `./lib`, `a.whl`."""
    if line.startswith("-"):
        return bool(_EDITABLE.match(line) or _LOCAL_LINKS.match(line))
    return "file:" in line or ("://" not in line and _PATH.match(line) is not None)


def _lines(text: str) -> Iterator[str]:
    """The lines that say something, as pip reads them: continued lines joined, comments gone."""
    for line in text.replace("\\\r\n", " ").replace("\\\n", " ").splitlines():
        said = re.sub(r"(^|\s)#.*", "", line).strip()
        if said:
            yield said


def _of_pyproject(text: str) -> Dependencies | None:
    """What `[project].dependencies` lists; None where it is not declared there."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Invalid(Problem("pyproject.toml", f"is not TOML: {error}")) from error
    project: Any = document.get("project", {})
    listed = project.get("dependencies") if isinstance(project, dict) else None
    if listed is None:
        return None
    wrong = [item for item in listed if not _is_requirement(item)] if isinstance(listed, list) else [listed]
    if wrong:
        rule = "must be a list of requirements such as 'numpy>=1.26'"
        raise Invalid(Problem("pyproject.toml [project].dependencies", rule, wrong[0]))
    return Dependencies(tuple(listed), whole_tree=any("file:" in item for item in listed))


def _is_requirement(item: Any) -> bool:
    """A name first, so that none is taken for an option; on one line, so that none ends a Dockerfile's instruction."""
    return isinstance(item, str) and re.match(r"[A-Za-z0-9]", item) is not None and item.isprintable()


def _text(root: Path, name: str) -> str:
    path = locate(root, name)
    try:
        return path.read_text("utf-8-sig") if path else ""
    except (OSError, UnicodeDecodeError) as error:
        raise Permanent(f"'{name}' of the source tree cannot be read: {error}") from error
