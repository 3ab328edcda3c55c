"""Code artifacts: a tar or zip file becomes a tree of files.

An archive is recognised by its first bytes, not by its name. It is taken as it is: a single folder at its top stays
one. Links that stay inside are kept, hard links and devices are refused, of the modes only the executable bit is kept.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO
from urllib.parse import unquote, urldefrag, urlsplit

from slipway.adapters.local import reach
from slipway.adapters.local.tree import MAX_LINK, Limits, Tree
from slipway.errors import Forbidden, Invalid, NotFound, Permanent, Problem, Temporary
from slipway.model import ArchiveSource

_CHUNK = 1 << 16
_ALWAYS = 64 * 1024**2
"""Bytes an archive may hold whatever its own size."""
_OVERHEAD = 2048
"""Bytes of a tar file that one member may take besides its content."""
_MAX_HEADER = 1024**2
"""tarfile reads extended headers whole, so a header's claimed size would be memory."""
_DIGEST = re.compile(r"[0-9a-fA-F]{64}")
_SHA256 = re.compile(r"sha256=(?P<digest>.*)")


class Archives:
    """`local_paths` allows paths of this machine, `private` addresses that are not public, `insecure` http://."""

    def __init__(self, *, local_paths: bool, private: bool, insecure: bool, limits: Limits) -> None:
        self._local_paths = local_paths
        self._private = private
        self._schemes = frozenset({"https", "http"} if insecure else {"https"})
        self._limits = limits

    def check(self, source: ArchiveSource) -> tuple[str, str | None]:
        """Its address and the digest it must have, where one is known. Nothing is read. Raises Invalid."""
        uri, expected = _digest(source)
        if not self._remote(uri):
            self._path(uri)
        elif expected is None:
            fix = "Append #sha256=<hex digest of the file> to the address"
            raise Invalid(Problem("sha256", "is required for an archive from the network", None, fix))
        return uri, expected

    def resolve(self, source: ArchiveSource) -> str:
        """The archive's SHA-256 (hex). Of one on the network it is the `sha256` given; one on disk is read and held
        against it. Raises Invalid, NotFound, Forbidden, and Permanent when the two differ."""
        uri, expected = self.check(source)
        if self._remote(uri) and expected is not None:
            return expected
        with _opened(self._path(uri)) as file:
            self._check_size(os.fstat(file.fileno()).st_size, uri)
            found = _sha256(file)
        _same(uri, expected or found, found)
        return found

    def extract(self, source: ArchiveSource, revision: str, into: Path) -> None:
        """The archive's files, in the existing empty folder `into`. What is unpacked is what was hashed; a digest other
        than `revision` raises Permanent with both."""
        uri, _ = _digest(source)
        with TemporaryFile(prefix="slipway-archive-") as copy, _reading(uri):
            digest = hashlib.sha256()
            for chunk in self._download(uri) if self._remote(uri) else self._read(uri):
                digest.update(chunk)
                copy.write(chunk)
            _same(_shown(uri), revision, digest.hexdigest())
            size = copy.tell()
            unpacked = min(self._limits.unpacked, max(_ALWAYS, self._limits.ratio * size))
            limits = replace(self._limits, unpacked=unpacked)
            unpack(copy, Tree(into, limits), unpacked + limits.files * _OVERHEAD)

    def _remote(self, uri: str) -> bool:
        scheme, separator, _ = uri.partition("://")
        if not separator or scheme == "file":
            return False
        if scheme not in self._schemes:
            raise Invalid(Problem("uri", "is not of a kind that is taken", scheme + "://", "Use https://"))
        parts = urlsplit(uri)
        if parts.username is not None or parts.password is not None:
            raise Invalid(Problem("uri", "may not hold a user or password: it would be stored with the submission"))
        return True

    def _path(self, uri: str) -> Path:
        path = Path(unquote(uri.removeprefix("file://")) if uri.startswith("file://") else uri)
        if not self._local_paths:
            raise Invalid(Problem("uri", "paths of this machine are not taken", uri, "Use https:// with a sha256"))
        if not path.is_absolute() or "\0" in str(path):
            raise Invalid(Problem("uri", "a path must be absolute", uri))
        return path

    def _read(self, uri: str) -> Iterator[bytes]:
        with _opened(self._path(uri)) as file:
            self._check_size(os.fstat(file.fileno()).st_size, uri)
            while chunk := file.read(_CHUNK):
                yield chunk

    def _download(self, uri: str) -> Iterator[bytes]:
        shown, total, deadline = _shown(uri), 0, reach.Deadline(self._limits.seconds)
        with (
            reach.translated(shown),
            reach.client(private=self._private, schemes=self._schemes, deadline=deadline) as http,
            # What is hashed is the file, so the server may not encode it on the way.
            http.stream("GET", uri, headers={"Accept-Encoding": "identity"}) as response,
        ):
            status = response.status_code
            if status in (404, 410):
                raise NotFound(f"{shown}: there is no such file ({status})")
            if status in (401, 403):
                raise Forbidden(f"{shown}: the server refuses access ({status}); use an address that needs no login")
            if status == 429 or status >= 500:
                raise Temporary(f"{shown}: the server answers {status}", reach.retry_after(response.headers))
            if status != 200:
                raise Permanent(f"{shown}: the server answers {status}, not a file")
            self._check_size(int(response.headers.get("Content-Length", "0")), shown)
            for chunk in response.iter_raw(_CHUNK):
                total += len(chunk)
                self._check_size(total, shown)
                deadline.left()
                yield chunk

    def _check_size(self, size: int, shown: str) -> None:
        if size > self._limits.download:
            raise Invalid(Problem("uri", f"the archive is more than {self._limits.download} bytes", shown))


def unpack(file: IO[bytes], tree: Tree, limit: int) -> None:
    """Writes the members of the archive `file` into `tree`; of a tar file no more than `limit` unpacked bytes are read.

    Raises Invalid for what is no archive, is broken, or holds a member that is not taken.
    """
    file.seek(0)
    magic = file.read(6)
    file.seek(0)
    try:
        if magic.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            _unzip(file, tree)
        else:
            _untar(_Metered(_decompressed(file, magic), limit), tree)
    except (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError, gzip.BadGzipFile) as error:
        fix = "Give a tar (plain, gzip, bzip2, xz) or zip file"
        raise Invalid(Problem("uri", f"is not an archive that can be read: {error}", None, fix)) from error
    except (ValueError, LookupError, ArithmeticError, RuntimeError, struct.error) as error:
        # what the standard library's readers raise, besides their own errors, for bytes that were made to break them
        raise Invalid(Problem("uri", f"is not an archive that can be read: {error}")) from error
    tree.finish()


def _decompressed(file: IO[bytes], magic: bytes) -> IO[bytes] | gzip.GzipFile:
    if magic.startswith(b"\x1f\x8b"):
        return gzip.open(file)
    if magic.startswith(b"BZh"):
        return bz2.open(file)
    if magic.startswith(b"\xfd7zXZ\x00"):
        return lzma.open(file)
    return file


def _untar(file: _Metered, tree: Tree) -> None:
    with tarfile.open(fileobj=file, mode="r:") as archive:
        for member in archive:
            if member.isdir():
                tree.folder(member.name)
            elif member.issym():
                tree.link(member.name, member.linkname)
            elif member.isreg():
                content = archive.extractfile(member)
                tree.file(member.name, _chunks(content), executable=bool(member.mode & 0o111))
            else:
                kind = "hard links" if member.islnk() else "devices and pipes"
                raise Invalid(Problem("uri", f"{kind} are not taken", member.name))


def _unzip(file: IO[bytes], tree: Tree) -> None:
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            mode = member.external_attr >> 16
            kind = stat.S_IFMT(mode)
            if member.filename.endswith("/"):
                tree.folder(member.filename)
            elif member.flag_bits & 1:
                raise Invalid(Problem("uri", "an encrypted member cannot be read", member.filename))
            elif kind == stat.S_IFLNK:
                with archive.open(member) as content:
                    tree.link(member.filename, os.fsdecode(content.read(MAX_LINK + 1)))
            elif kind in (0, stat.S_IFREG):
                with archive.open(member) as content:
                    tree.file(member.filename, _chunks(content), executable=bool(mode & 0o111))
            else:
                raise Invalid(Problem("uri", "devices and pipes are not taken", member.filename))


def _chunks(content: IO[bytes] | None) -> Iterable[bytes]:
    with _broken():
        while content is not None and (chunk := content.read(_CHUNK)):
            yield chunk


class _Metered(io.RawIOBase):
    """A decompressed stream that ends in an error instead of in no memory or no time."""

    def __init__(self, inner: IO[bytes] | gzip.GzipFile, limit: int) -> None:
        self._inner = inner
        self._limit = limit

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MAX_HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes")
        self._check(self._inner.tell() + size)
        with _broken():
            return self._inner.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._check(offset)
        with _broken():
            return self._inner.seek(offset, whence)

    def tell(self) -> int:
        return self._inner.tell()

    def _check(self, position: int) -> None:
        if position > self._limit:
            raise Invalid(Problem("uri", f"unpacks to more than {self._limit} bytes"))


@contextmanager
def _broken() -> Iterator[None]:
    """A stream that cannot be decompressed must not look like a disk that cannot be written: both are an OSError."""
    try:
        yield
    except OSError as error:
        raise EOFError(str(error)) from error


def _sha256(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def _digest(source: ArchiveSource) -> tuple[str, str | None]:
    """The address without its fragment, and the digest from either place."""
    uri, fragment = urldefrag(source.uri) if "#sha256=" in source.uri else (source.uri, "")
    stated = _SHA256.fullmatch(fragment)
    given = source.sha256 or (stated["digest"] if stated else None)
    if given is not None and not _DIGEST.fullmatch(given):
        raise Invalid(Problem("sha256", "must be 64 hexadecimal digits", given))
    return uri, given.lower() if given else None


def _shown(uri: str) -> str:
    """For messages: a signed address carries its secret in the query."""
    return uri.partition("?")[0]


def _same(shown: str, expected: str, found: str) -> None:
    if expected.lower() != found:
        raise Permanent(
            f"{shown}: its SHA-256 is {found}, not {expected.lower()}: the file is not the one that was named"
        )


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        if not path.is_file():
            raise NotFound(f"{path}: there is no such file")
        file = path.open("rb")
    except OSError as error:
        raise Forbidden(f"{path}: may not be read: {error}") from error
    with file:
        yield file


@contextmanager
def _reading(uri: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Temporary(f"{_shown(uri)}: could not be kept for unpacking: {error}") from error
