"""The file that an entry point runs: found among its words, and held against the source tree.

A job whose script is missing would fail minutes later, on a machine that costs money. So what can be known from the
words alone is checked before anything is built; what cannot (`python -m train`, `torchrun …`) is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path, PurePosixPath

from slipway.context import Entry, locate
from slipway.errors import NotFound


def folder(entry_point: Sequence[str]) -> PurePosixPath:
    """The folder of the file it runs, relative to the build context; the context itself where no file is known."""
    index = _file(entry_point)
    return PurePosixPath(".") if index is None else PurePosixPath(entry_point[index]).parent


def relative_to(entry_point: Sequence[str], start: PurePosixPath) -> tuple[str, ...]:
    """The same command for a context that is the file's own folder `start`."""
    index = _file(entry_point)
    if index is None or start == PurePosixPath("."):
        return tuple(entry_point)
    name = PurePosixPath(entry_point[index]).name
    # A program is looked for on PATH unless its name has a slash.
    return (*entry_point[:index], name if index else f"./{name}", *entry_point[index + 1 :])


def require(entry_point: Sequence[str], root: Path, entries: Sequence[Entry]) -> None:
    """Passes when the file it runs is among the entries, or when it runs none that could be known.

    Raises:
        NotFound: it is not, naming the files it could have meant.
    """
    index = _file(entry_point)
    if index is None:
        return
    file, paths = entry_point[index], {entry.path for entry in entries}
    path = locate(root, file)
    if path is None:
        raise NotFound(f"Entry point '{file}' not found in the source: there is no such file. {_near(file, paths)}")
    if not path.is_file():
        raise NotFound(f"Entry point '{file}' is not a file of the source. {_near(file, paths)}")
    if path.relative_to(root).as_posix() not in paths:
        raise NotFound(f"Entry point '{file}' is left out by .dockerignore. Keep it with a line !{file}")


_INTERPRETER = re.compile(r"python(?:3(?:\.\d+)?)?|bash|sh")
_TAKES_A_VALUE = frozenset({"-W", "-X", "-o", "+o"})


def _file(entry_point: Sequence[str]) -> int | None:
    """Which word is the file; None where none is, or where it lies outside the source."""
    index = _script(entry_point)
    if index is None or entry_point[index].startswith("/") or "${" in entry_point[index]:
        return None
    return index


def _script(words: Sequence[str]) -> int | None:
    if not words:
        return None
    if not _INTERPRETER.fullmatch(PurePosixPath(words[0]).name):
        return 0 if "/" in words[0] or words[0].endswith((".py", ".sh")) else None
    index = 1
    while index < len(words):
        word = words[index]
        if word in _TAKES_A_VALUE:
            index += 2
        elif not word.startswith("-"):
            return index
        elif word == "-" or (not word.startswith("--") and re.search("[mc]", word)):
            return None
        else:
            index += 1
    return None


def _near(file: str, paths: set[str]) -> str:
    name = PurePosixPath(file).name
    elsewhere = sorted(path for path in paths if PurePosixPath(path).name == name)
    near = (elsewhere or get_close_matches(file, sorted(paths), n=3, cutoff=0.6))[:3]
    if near:
        return f"Did you mean {' or '.join(repr(path) for path in near)}?"
    return "Paths are relative to the build context"
