"""Writing a tree of files that someone else made, without leaving its folder and within limits.

Git trees and archives both come here, member by member. The order is what makes it safe: folders and files are written
first, links last, so that nothing is ever written through a link; then each link is followed, and one that leads
outside refuses the whole tree.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from slipway.errors import Invalid, Permanent, Problem, Temporary

MAX_DEPTH = 64
MAX_LINK = 4096
_GIB = 1024**3


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a source may cost. A training job's code is small; its data belongs in a store of data."""

    download: int = _GIB
    """Bytes over the network, or of an archive."""
    unpacked: int = 4 * _GIB
    """Bytes of all files together."""
    files: int = 100_000
    """Files, links and folders together."""
    ratio: int = 100
    """How many times its size an archive may grow; up to 64 MiB it may always."""
    seconds: float = 600.0
    """The whole transfer."""


class Tree:
    """A tree being written into the existing empty folder `root`.

    Names are relative, with `/` between their parts. Every method raises Invalid for a name or size that breaks a rule,
    and Temporary when the disk is full.
    """

    def __init__(self, root: Path, limits: Limits) -> None:
        self._root = root.resolve()
        self._limits = limits
        self._bytes = 0
        self._count = 0
        self._folders: set[tuple[str, ...]] = {()}
        self._links: list[tuple[Path, str]] = []

    def folder(self, name: str) -> None:
        self._make(_parts(name))

    def file(self, name: str, chunks: Iterable[bytes], *, executable: bool) -> None:
        """A regular file, of which only the executable bit is kept."""
        path = self._place(name)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with explained(name), os.fdopen(os.open(path, flags, 0o600), "wb") as file:
            for chunk in chunks:
                self._bytes += len(chunk)
                if self._bytes > self._limits.unpacked:
                    raise Invalid(Problem("uri", f"unpacks to more than {self._limits.unpacked} bytes", name))
                file.write(chunk)
            os.fchmod(file.fileno(), 0o755 if executable else 0o644)

    def link(self, name: str, target: str) -> None:
        """A symbolic link, made at the end."""
        if target.startswith("/") or not target or "\0" in target or len(target) > MAX_LINK:
            raise Invalid(
                Problem("uri", "a link must lead to a relative path inside the source", f"{name} -> {target}")
            )
        self._links.append((self._place(name), target))

    def finish(self) -> None:
        """Makes the links. None is left when one of them leads outside."""
        made: list[Path] = []
        try:
            for path, target in self._links:
                with explained(path.name):
                    path.symlink_to(target)
                made.append(path)
            for path, target in self._links:
                self._check_link(path, target)
        except Exception:
            for path in made:
                path.unlink()
            raise

    def _check_link(self, path: Path, target: str) -> None:
        if not Path(os.path.realpath(path)).is_relative_to(self._root):
            name = path.relative_to(self._root)
            raise Invalid(Problem("uri", "a link may not lead out of the source", f"{name} -> {target}"))

    def _place(self, name: str) -> Path:
        *parents, last = _parts(name) or ("",)
        if not last:
            raise Invalid(Problem("uri", "holds a member without a name", name))
        self._make(tuple(parents))
        self._counted()
        return self._root.joinpath(*parents, last)

    def _make(self, parts: tuple[str, ...]) -> None:
        for depth in range(1, len(parts) + 1):
            if parts[:depth] in self._folders:
                continue
            self._counted()
            with explained("/".join(parts)):
                folder = self._root.joinpath(*parts[:depth])
                folder.mkdir()
                folder.chmod(0o755)
            self._folders.add(parts[:depth])

    def _counted(self) -> None:
        self._count += 1
        if self._count > self._limits.files:
            raise Invalid(Problem("uri", f"holds more than {self._limits.files} files"))


def _parts(name: str) -> tuple[str, ...]:
    if name.startswith("/") or "\\" in name or "\0" in name:
        raise Invalid(Problem("uri", "holds a member whose name is not a relative path", name))
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if ".." in parts:
        raise Invalid(Problem("uri", "holds a member that leaves its folder", name))
    if len(parts) > MAX_DEPTH:
        raise Invalid(Problem("uri", f"holds a member more than {MAX_DEPTH} folders deep", name))
    return parts


@contextmanager
def explained(name: str) -> Iterator[None]:
    try:
        yield
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise Invalid(Problem("uri", "holds two members of one name", name)) from error
    except UnicodeEncodeError as error:
        raise Invalid(Problem("uri", "holds a member whose name cannot be written on this disk", name)) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Temporary(f"the disk is full ({error}); free some space where Slipway unpacks sources") from error
        if error.errno in (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ):
            raise Invalid(Problem("uri", "holds a member whose name cannot be written on this disk", name)) from error
        raise Permanent(f"'{name}' cannot be written: {error}") from error
