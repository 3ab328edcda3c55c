"""A path whose file tells how much of it was read at a time."""

from __future__ import annotations

from io import BufferedReader, FileIO
from pathlib import Path, PosixPath
from typing import Any


class WatchedPath(PosixPath):
    """Of an existing file, opened to be read."""

    reads: list[int]
    """Bytes that each call asked for; all of it counts as more than there can be."""

    def __new__(cls, path: Path) -> WatchedPath:
        made = super().__new__(cls, path)
        made.reads = []
        return made

    def open(self, mode: str = "r", *more: Any, **options: Any) -> Any:
        return _Watched(self, self.reads) if mode == "rb" else super().open(mode, *more, **options)


class _Watched(BufferedReader):
    def __init__(self, path: Path, reads: list[int]) -> None:
        super().__init__(FileIO(path))
        self._reads = reads

    def read(self, size: int | None = -1) -> bytes:
        self._reads.append(2**63 if size is None or size < 0 else size)
        return super().read(size)
