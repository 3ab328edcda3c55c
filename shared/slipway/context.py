"""The build context: which files of a source tree an image is made from, and what of them decides the image.

Two machines, users or clones with the same revision must see the same entries. So an entry is a path, a kind,
the executable bit and the content: no owner, no times, no other permission (they follow the umask), no order
but the path's, and no empty folders (git does not keep them either).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from slipway import dockerignore
from slipway.dockerignore import Ignore
from slipway.errors import NotFound, Permanent, Temporary

NEVER_PART = frozenset({".git", ".hg", ".svn", "__pycache__"})
"""Left out at any depth, whatever the ignore file says: the records of version control differ between two clones of one
revision, and Python writes its caches while the code runs, with times inside."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file or symbolic link of a context."""

    path: str
    """Relative to the context's root, with `/`."""
    kind: str
    """`file` or `link`."""
    executable: bool
    """Whether its owner may execute it; False for links."""
    content: str
    """Of a file, the SHA-256 (hex) of its bytes; of a link, its target without needless dots and slashes."""


def read_ignore(root: Path) -> Ignore:
    """The rules of the tree's `.dockerignore`; none when it has no such file. Raises Invalid."""
    with _reading(root, ".dockerignore"):
        path = locate(root, ".dockerignore")
        return dockerignore.parse(path.read_text("utf-8")) if path else Ignore()


def entries(root: Path, ignore: Ignore) -> tuple[Entry, ...]:
    """What the context holds, sorted by path.

    Raises:
        Permanent: a link leaves the tree; a name is not UTF-8; something is no file, folder or link; a file cannot be
            read. The path is named.
    """
    found = [_entry(root, path) for path in _walk(root, ignore)]
    return tuple(sorted(found, key=lambda entry: entry.path))


def copy(chosen: Sequence[Entry], root: Path, into: Path) -> None:
    """The entries, and nothing else, in the folder `into` (made if missing, else empty), their modes 755 or 644.

    Raises:
        Temporary: the disk is full or failed.
    """
    try:
        into.mkdir(parents=True, exist_ok=True)
        into.chmod(0o755)
        for entry in chosen:
            _copy_one(entry, root, into)
    except OSError as error:
        raise Temporary(f"The build context could not be copied to {into}: {error}") from error


def locate(root: Path, relative: str) -> Path | None:
    """The real path of something in the tree, every link followed; None when it is not there.

    Raises:
        Permanent: the path, or a link on its way, leaves the tree.
    """
    with _reading(root, relative):
        parts = _follow(root, (), relative)
        if parts is None:
            raise Permanent(f"'{relative}' leaves the source tree. Give a path inside it, without links that lead out")
        path = root.joinpath(*parts)
        return path if path.exists() else None


def _walk(root: Path, ignore: Ignore) -> Iterator[str]:
    folders = [""]
    while folders:
        folder = folders.pop()
        with _reading(root, folder or "."), os.scandir(root / folder) as children:
            for child in children:
                path = f"{folder}/{child.name}" if folder else child.name
                if child.name in NEVER_PART:
                    continue
                if not child.is_dir(follow_symlinks=False):
                    if not ignore.leaves_out(path):
                        yield path
                elif not ignore.leaves_out_all_of(path):
                    folders.append(path)


def _entry(root: Path, path: str) -> Entry:
    _require_text(path, path)
    with _reading(root, path):
        mode = (root / path).lstat().st_mode
        if stat.S_ISLNK(mode):
            return Entry(path, "link", executable=False, content=_target(root, path))
        if not stat.S_ISREG(mode):
            raise Permanent(f"'{path}' is neither a file, a folder nor a link. Leave it out in .dockerignore")
        with (root / path).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Entry(path, "file", executable=bool(mode & stat.S_IXUSR), content=digest)


def _target(root: Path, path: str) -> str:
    target = str((root / path).readlink())
    _require_text(target, path)
    if _follow(root, PurePosixPath(path).parent.parts, target) is None:
        raise Permanent(
            f"The link '{path}' leads to '{target}', out of the source tree. "
            "Copy what it leads to into the tree, or leave it out in .dockerignore"
        )
    return target


_MAX_LINKS = 40
"""As many as Linux follows before it says ELOOP."""


def _follow(root: Path, start: Sequence[str], relative: str) -> tuple[str, ...] | None:
    """Where a path leads, step by step as the kernel would go; None as soon as a step leaves the root.

    Not `resolve()`: there a link that leaves a folder called `here` and comes back through `../here/file` would pass.
    """
    reached, ahead, links = list(start), [relative], 0
    while ahead:
        path = ahead.pop()
        if path.startswith("/"):
            return None
        step, _, rest = path.partition("/")
        if rest:
            ahead.append(rest.lstrip("/"))
        if step == ".." and not reached:
            return None
        if step == "..":
            reached.pop()
        elif step not in ("", "."):
            reached.append(step)
            here = root.joinpath(*reached)
            if here.is_symlink() and links < _MAX_LINKS:
                links += 1
                reached.pop()
                ahead.append(str(here.readlink()))
    return tuple(reached)


def _copy_one(entry: Entry, root: Path, into: Path) -> None:
    target = into / entry.path
    for folder in reversed(PurePosixPath(entry.path).parents[:-1]):
        if not (into / folder).is_dir():
            (into / folder).mkdir()
            (into / folder).chmod(0o755)
    if entry.kind == "link":
        target.symlink_to(entry.content)
        return
    shutil.copyfile(root / entry.path, target)
    target.chmod(0o755 if entry.executable else 0o644)


@contextmanager
def _reading(root: Path, path: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound(f"'{path}' is not there in {root}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise Permanent(f"'{path}' of the source tree cannot be read: {error}") from error


def _require_text(name: str, path: str) -> None:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise Permanent(
            f"The name of {path!a}, or of what it leads to, is not UTF-8. Rename it, or leave it out in .dockerignore"
        ) from error
