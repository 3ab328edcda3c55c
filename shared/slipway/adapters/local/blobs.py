"""Blobs as files of one machine, for a Slipway whose bucket is a folder."""

from __future__ import annotations

import shutil
import tempfile
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

from slipway.errors import Refused

_LONGEST = 200
"""Bytes of a file's name, of the 255 that Linux takes."""


class FolderBlobs:
    """A key is one file's name, percent-encoded (`logs%2Fa.log`), in a folder that only this user can read. Each file
    appears whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, key: str, content: bytes | Path) -> None:
        """Raises Refused where there is no room."""
        path = self._path(key)
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.TemporaryDirectory(dir=self._folder, prefix=".") as folder:
                whole = Path(folder, "whole")
                if isinstance(content, Path):
                    shutil.copyfile(content, whole)
                else:
                    whole.write_bytes(content)
                whole.replace(path)
        except OSError as error:
            raise Refused(f"{path}: it cannot be written: {error.strerror}") from error

    def get(self, key: str) -> bytes | None:
        try:
            return self._path(key).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Refused(f"{self._path(key)}: it cannot be read: {error.strerror}") from error

    def _path(self, key: str) -> Path:
        name = quote(key, safe="").replace(".", "%2E", 1)  # a name that begins with a dot is no file of ours
        # No name that is not shortened has a "#".
        return self._folder / (name if len(name) <= _LONGEST else f"#{sha256(key.encode()).hexdigest()}")
