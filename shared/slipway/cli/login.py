"""`slipway login`, `slipway logout`: the Slipway elsewhere that commands speak to from now on, and the key for it.

Kept in `~/.config/slipway/login.json`, which its owner alone may read. The key is asked for, or read from standard
input: on a command line it would stand in the shell's history and in the list of processes.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple
from urllib.parse import urlsplit

import typer

from slipway.cli.options import Output
from slipway.cli.output import Format
from slipway.errors import Invalid, Permanent, Problem


class Login(NamedTuple):
    endpoint: str
    key: str


@dataclass(frozen=True, slots=True)
class Kept:
    """The file of this user's login."""

    path: Path

    @staticmethod
    def of_this_user() -> Kept:
        folder = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
        return Kept(Path(folder).expanduser() / "slipway" / "login.json")

    def read(self) -> Login | None:
        """Raises Permanent where the file cannot be read."""
        try:
            found = json.loads(self.path.read_text())
            return Login(str(found["endpoint"]), str(found["key"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Permanent(f"{self.path} cannot be read; `slipway login URL` writes it anew") from error

    def write(self, login: Login) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = self.path.with_suffix(f".{os.getpid()}")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(login._asdict(), file)
        fresh.replace(self.path)

    def forget(self) -> bool:
        """Whether there was one."""
        there = self.path.exists()
        self.path.unlink(missing_ok=True)
        return there


def login(
    url: Annotated[str, typer.Argument(metavar="URL", help="Of the deployment: `ApiUrl` among its outputs.")],
    key_stdin: Annotated[
        bool, typer.Option("--key-stdin", help="Read the key from standard input, not from the terminal.")
    ] = False,
    output: Output = Format.TABLE,
) -> None:
    """Speak to a Slipway elsewhere from now on: its key is asked for, tried, and kept for your user alone.

    `--endpoint`, SLIPWAY_ENDPOINT and `--data` still go over it, for one command.

    Example: slipway login https://a1b2c3d4e5.execute-api.eu-west-1.amazonaws.com
    """
    from slipway.cli.client import at, path
    from slipway.cli.output import dump, note

    _check_safe(url)
    key = _key(key_stdin)
    known = at(url, key).get(path("status"))
    kept = Kept.of_this_user()
    kept.write(Login(url.rstrip("/"), key))
    if output is not Format.TABLE:
        print(dump({"endpoint": url.rstrip("/"), "queues": len(known["queues"])}, output))
        return
    queues = len(known["queues"])
    print(f"Logged in to {url.rstrip('/')}: it has {queues} queue{'' if queues == 1 else 's'} for this key.")
    note(f"The key is in {kept.path}. `slipway logout` forgets it.")


def logout(output: Output = Format.TABLE) -> None:
    """Forget the login: commands speak to this machine's own Slipway again.

    Example: slipway logout
    """
    from slipway.cli.output import dump

    there = Kept.of_this_user().forget()
    if output is not Format.TABLE:
        print(dump({"was_logged_in": there}, output))
        return
    print("Logged out. The key is still good; `slipway key revoke` ends one." if there else "There was no login.")


def _check_safe(url: str) -> None:
    """A key over plain http is anybody's who listens. Raises Invalid."""
    parts = urlsplit(url)
    if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        raise Invalid(Problem("URL", "is http: the key would go over the network as it is", url, "Take https://."))


def _key(from_stdin: bool) -> str:
    """Raises Invalid where there is none."""
    if from_stdin or not sys.stdin.isatty():
        key = sys.stdin.readline().strip()
    else:
        key = str(typer.prompt("Key (slip_...)", hide_input=True)).strip()
    if not key:
        raise Invalid(
            Problem("key", "is empty", fix="An admin makes one with `slipway key create NAME --entity TEAM`.")
        )
    return key
