"""Build contexts on their way into a cluster: one archive each, in a bucket or on a volume that is mounted here too.

The archive is the same bytes for the same content, so that its key can be its hash, and what was put there once need
not be put again.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import Protocol, cast

from slipway.context import entries
from slipway.dockerignore import Ignore
from slipway.errors import Permanent, Refused
from slipway.ports import Blobs, SignedBlobs
from slipway.render.build_job import CLAIMED, DOCKERFILE

DAY = 86400.0
RIGHT_LASTS = DAY
"""Seconds for which a build may read its context: as long as its Job may wait and run."""


class Contexts(Protocol):
    """Where contexts lie for pods to read."""

    @property
    def claim(self) -> str | None:
        """The PersistentVolumeClaim that a pod mounts to read them."""
        ...

    def put(self, key: str, path: Path) -> None: ...

    def address(self, key: str) -> str:
        """As a pod reads it, with an identity of its own: `s3://bucket/contexts/3f….tar.gz`, `tar:///context/…`."""
        ...

    def right(self, key: str) -> str | None:
        """A URL by which whoever has it may read the context for RIGHT_LASTS; None where it takes none to read it."""
        ...


class BucketContexts:
    """In a bucket. `address` is where `blobs` keeps things, in a pod's words: `s3://bucket/slipway`. Those that are to
    hand out rights need SignedBlobs."""

    claim = None

    def __init__(self, blobs: Blobs, address: str) -> None:
        self._blobs = blobs
        self._address = address.rstrip("/")

    def put(self, key: str, path: Path) -> None:
        self._blobs.put(key, path)

    def address(self, key: str) -> str:
        return f"{self._address}/{key}"

    def right(self, key: str) -> str | None:
        return cast(SignedBlobs, self._blobs).signed(key, RIGHT_LASTS)


class ClaimContexts:
    """On the PersistentVolumeClaim `claim`, which is mounted here as `folder`, and in the pods of builds at CLAIMED."""

    def __init__(self, folder: Path, claim: str) -> None:
        self._folder = folder
        self._claim = claim

    @property
    def claim(self) -> str | None:
        return self._claim

    def put(self, key: str, path: Path) -> None:
        """Raises Refused for lack of room, and where the volume is not mounted."""
        into = self._folder / key
        try:
            if not self._folder.is_dir():
                raise FileNotFoundError(f"there is no folder {self._folder}: mount the volume there")
            into.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=into.parent, prefix=".", delete=False) as draft:
                shutil.copyfile(path, draft.name)
            # A pod reads it as whoever it runs as.
            Path(draft.name).chmod(0o644)
            Path(draft.name).replace(into)
        except OSError as error:
            raise Refused(f"the build context cannot be written to {into}: {error}") from error

    def address(self, key: str) -> str:
        return f"tar://{CLAIMED}/{key}"

    def right(self, key: str) -> str | None:
        return None


def pack(context: Path, dockerfile: str, into: Path) -> str:
    """Writes the archive (tar.gz) of the folder `context` to the file `into`, with the text as its Dockerfile. Returns
    its key. Times and owners are left out, as in the hash that the image is named by.

    Raises:
        Permanent: there is no such folder, or something in it is no part of a context (see `context.entries`); the text
            is not UTF-8.
        Refused: it cannot be read or written, for lack of room for example.
    """
    if not context.is_dir():
        raise Permanent(f"context: there is no folder {context}")
    try:
        text = dockerfile.encode()
        with into.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as zipped:
            _write(zipped, context, text)
        with into.open("rb") as file:
            return f"contexts/{hashlib.file_digest(file, 'sha256').hexdigest()}.tar.gz"
    except UnicodeEncodeError as error:
        raise Permanent(f"{context}: its Dockerfile is not UTF-8") from error
    except OSError as error:
        raise Refused(f"{context}: the build context cannot be packed: {error}") from error


def _write(zipped: gzip.GzipFile, context: Path, dockerfile: bytes) -> None:
    with tarfile.open(fileobj=cast(io.BufferedIOBase, zipped), mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for entry in entries(context, Ignore()):
            if entry.path == DOCKERFILE:
                continue
            member = tarfile.TarInfo(entry.path)
            path = context / entry.path
            if entry.kind == "link":
                member.type, member.linkname = tarfile.SYMTYPE, str(path.readlink())
                archive.addfile(member)
                continue
            member.mode, member.size = 0o755 if entry.executable else 0o644, path.stat().st_size
            with path.open("rb") as content:
                archive.addfile(member, content)
        member = tarfile.TarInfo(DOCKERFILE)
        member.size = len(dockerfile)
        archive.addfile(member, io.BytesIO(dockerfile))
