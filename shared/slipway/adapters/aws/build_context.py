"""A build context as CodeBuild takes it: one zip, the same bytes for the same content, so that its key can be its hash.

The context is a tar within the zip, because CodeBuild does not say what becomes of modes and symbolic links when it
unpacks a source: https://docs.aws.amazon.com/codebuild/latest/APIReference/API_ProjectSource.html
"""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from slipway.errors import Permanent, Refused

_NEVER = (1980, 1, 1, 0, 0, 0)
"""The time of every member: the first that a zip can tell."""


def pack(context: Path, beside: Mapping[str, str], into: Path) -> str:
    """Writes the zip to the file `into`: the folder `context` as `context.tar`, and texts (name → text). Returns the
    SHA-256 (hex) of its bytes.

    Raises:
        Permanent: there is no such folder; something in it is no file, folder or link; a text is not UTF-8.
        Refused: it cannot be read or written, for lack of room for example.
    """
    if not context.is_dir():
        raise Permanent(f"context: there is no folder {context}")
    try:
        with zipfile.ZipFile(into, "w", zipfile.ZIP_DEFLATED) as archive:
            _add_tree(archive, context)
            for name, text in sorted(beside.items()):
                archive.writestr(_member(name), text.encode())
        return _digest(into)
    except UnicodeEncodeError as error:
        raise Permanent(f"{context}: its Dockerfile or a build argument is not UTF-8") from error
    except OSError as error:
        raise Refused(f"{context}: the build context cannot be packed: {error}") from error


def _add_tree(archive: zipfile.ZipFile, root: Path) -> None:
    """Straight into the zip: there may be no room for the tar beside it."""
    member = _member("context.tar")
    # A guess from above, by which zipfile decides whether the sizes need 64 bits.
    member.file_size = sum(path.lstat().st_size + 4096 for path in _below(root))
    with archive.open(member, "w") as stream, tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for path in _below(root):
            _add(tar, path, path.relative_to(root).as_posix())


def _below(root: Path) -> Iterator[Path]:
    """Everything in the folder, each folder before what is in it; always in the same order."""
    for child in sorted(root.iterdir(), key=lambda path: os.fsencode(path.name)):
        yield child
        if child.is_dir() and not child.is_symlink():
            yield from _below(child)


def _add(tar: tarfile.TarFile, path: Path, name: str) -> None:
    """Without its times and its owner."""
    status = path.lstat()
    entry = tarfile.TarInfo(name)
    entry.mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISLNK(status.st_mode):
        entry.type, entry.linkname = tarfile.SYMTYPE, str(path.readlink())
        tar.addfile(entry)
    elif stat.S_ISDIR(status.st_mode):
        entry.type = tarfile.DIRTYPE
        tar.addfile(entry)
    elif stat.S_ISREG(status.st_mode):
        entry.size = status.st_size
        with path.open("rb") as content:
            tar.addfile(entry, content)
    else:
        raise Permanent(f"'{name}' in the build context is no file, folder or link")


def _member(name: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name, _NEVER)
    member.compress_type = zipfile.ZIP_DEFLATED
    member.create_system = 3  # Unix, whose modes follow
    member.external_attr = (stat.S_IFREG | 0o644) << 16
    return member


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
