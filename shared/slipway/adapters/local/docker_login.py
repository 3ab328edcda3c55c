"""The registry logins that `docker login` left on this machine: `~/.docker/config.json` and its credential helpers.

https://docs.docker.com/reference/cli/docker/login/#credential-stores
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import subprocess
from pathlib import Path
from typing import Any

from slipway.errors import Permanent, Temporary

_DOCKER_HUB = "https://index.docker.io/v1/"
"""The name under which Docker keeps the login of docker.io."""
_PATIENCE = 30.0


def credentials(registry: str) -> tuple[str, str] | None:
    """User and password for a registry (`docker.io`, `host:port`); None when there is no login for it.

    Raises Permanent when the file or a helper's answer cannot be read, Temporary when a helper does not answer.
    """
    config = _config()
    names = (_DOCKER_HUB, "index.docker.io", "docker.io") if registry == "docker.io" else (registry,)
    for name in (*names, *(f"https://{each}" for each in names if "://" not in each)):
        helper = (config.get("credHelpers") or {}).get(name) or config.get("credsStore")
        found = _from_helper(str(helper), name) if helper else _from_file(config, name)
        if found is not None:
            return found
    return None


def _config() -> dict[str, Any]:
    folder = os.environ.get("DOCKER_CONFIG") or Path("~/.docker").expanduser()
    path = Path(folder) / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise Permanent(f"{path} cannot be read: {error}. Mend it, or log in again with `docker login`") from error
    return config if isinstance(config, dict) else {}


def _from_file(config: dict[str, Any], name: str) -> tuple[str, str] | None:
    entry = (config.get("auths") or {}).get(name)
    if not isinstance(entry, dict) or not entry.get("auth"):
        return None
    try:
        user, colon, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, TypeError) as error:
        raise Permanent(f"Docker's login for {name} cannot be read; log in again with `docker login`") from error
    return (user, password) if colon else None


def _from_helper(helper: str, name: str) -> tuple[str, str] | None:
    """Helpers speak JSON over standard input and output, and exit with 1 for a server they do not know."""
    command = f"docker-credential-{helper}"
    try:
        done = subprocess.run(
            [command, "get"], input=name, capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
    except FileNotFoundError as error:
        raise Permanent(f"Docker's configuration names {command}, which is not on PATH") from error
    except subprocess.TimeoutExpired as error:
        raise Temporary(f"{command} has not answered for {_PATIENCE:.0f} s") from error
    if done.returncode != 0:
        return None
    try:
        answer = json.loads(done.stdout)
        return str(answer["Username"]), str(answer["Secret"])
    except (ValueError, KeyError, TypeError):
        # Without `from`: the answer holds the secret.
        raise Permanent(f"{command} answered something that is no login") from None
