"""A git server over HTTP: git's own, behind a WSGI application."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import services


@dataclass
class GitOverHttp:
    """git's own HTTP back end; below some paths, answers of servers in other moods."""

    base: Path
    host: str = ""
    login: str = ""
    """An Authorization header that it wants."""

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        path = environ["PATH_INFO"]
        moods = {
            "/locked/": ("401 Unauthorized", [("WWW-Authenticate", "Basic realm=x")]),
            "/forbidden/": ("403 Forbidden", []),
            "/hidden/": ("404 Not Found", []),
            "/busy/": ("503 Later", [("Retry-After", "7")]),
            "/page/": ("200 OK", [("Content-Type", "text/html")]),
            "/loop/": ("302 Found", [("Location", path)]),
            "/moved/": ("301 Gone", [("Location", f"{path.replace('/moved/', '/')}?{environ['QUERY_STRING']}")]),
        }
        for prefix, (status, headers) in moods.items():
            if path.startswith(prefix):
                start(status, headers)
                return [b""]
        if self.login and environ.get("HTTP_AUTHORIZATION") != self.login:
            start("401 Unauthorized", [("WWW-Authenticate", "Basic realm=x")])
            return [b""]
        variables = {key: value for key, value in environ.items() if isinstance(value, str)}
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        done = subprocess.run(
            [services.program("git"), "-c", "safe.directory=*", "http-backend"],
            input=body,
            capture_output=True,
            env=variables
            | {"GIT_PROJECT_ROOT": str(self.base), "GIT_HTTP_EXPORT_ALL": "1", "PATH": os.environ["PATH"]}
            | {"GIT_PROTOCOL": environ.get("HTTP_GIT_PROTOCOL", "")},
            check=True,
        )
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        lines = [line.partition(":") for line in head.decode().splitlines()]
        fields = {name: value.strip() for name, _, value in lines}
        start(fields.pop("Status", "200 OK"), list(fields.items()))
        return [content]
