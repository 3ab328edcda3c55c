"""Secrets of one machine: a file per secret that only its owner can read, else the environment Slipway started with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from slipway.errors import Forbidden, Invalid, Permanent, Problem

_NAME = re.compile(r"[A-Z0-9_]+", re.ASCII)


class LocalSecrets:
    """`NAME` → the text of `<home>/secrets/NAME` without its last line end, else `environ["NAME"]`, else None."""

    def __init__(self, home: Path, environ: Mapping[str, str]) -> None:
        self._folder = home / "secrets"
        self._environ = environ

    def get(self, reference: str) -> str | None:
        """Raises Invalid for a name with other characters than A-Z, 0-9 and _, Forbidden for a file that others can
        read or that Slipway cannot, Permanent for one that is not UTF-8 text."""
        if not _NAME.fullmatch(reference):
            raise Invalid(Problem("secret", "a name has only the characters A-Z, 0-9 and _", reference))
        path = self._folder / reference
        try:
            with path.open("rb") as file:
                mode = path.stat().st_mode & 0o777
                if mode & 0o077:
                    raise Forbidden(f"{path} can be used by others than its owner (mode {mode:o}): chmod 600 {path}")
                content = file.read()
        except FileNotFoundError:
            return self._environ.get(reference)
        except OSError as error:
            raise Forbidden(f"{path}: the secret cannot be read: {error.strerror}") from error
        try:
            return content.decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            # Not chained: that error carries the secret.
            raise Permanent(f"{path}: a secret must be UTF-8 text") from None
