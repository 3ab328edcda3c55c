"""The process that makes one virtual environment: run as `python -I make_environment.py ORDER`, under a supervisor.

`environment.py` writes the order and documents what becomes of it. Nothing of Slipway is imported, so that an upgrade
cannot disturb a build that is running. What is said goes to standard output: it is the build's log.
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any


def main(order: dict[str, Any]) -> int:
    """The exit code: 0 when the environment is there, made now or by somebody else meanwhile."""
    final, context = Path(order["environment"]), Path(order["context"])
    with Path(order["lock"]).open("w") as lock:
        # The installers inherit the lock: while one of them still writes, nobody else begins, even if this process is
        # killed.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (final / "ready").exists():
            shutil.rmtree(context)
            return 0
        shutil.rmtree(final, ignore_errors=True)
        final.mkdir(parents=True)
        # Before the environment, since pip may have to see the tree; and at its final place, since a virtual
        # environment holds its own path.
        context.rename(final / "src")
        code = _make(order, final, lock.fileno())
        if code != 0:
            shutil.rmtree(final, ignore_errors=True)
            return code
        _mark(final / "ready")
        _say(f"made {final}")
        return 0


def _make(order: dict[str, Any], final: Path, lock: int) -> int:
    venv, arguments = final / "venv", order["arguments"]
    python = str(venv / "bin" / "python")

    def run(*command: str) -> int:
        _say(f"$ {' '.join(command)}")
        return subprocess.run(command, cwd=final / "src", pass_fds=[lock], check=False).returncode

    uv = order["uv"]
    if uv is None:
        bare = [] if arguments else ["--without-pip"]
        code = run(order["python"], "-m", "venv", *bare, str(venv))
    else:
        code = run(uv, "venv", "--quiet", "--python", order["python"], str(venv))
    if code != 0 or not arguments:
        return code
    if uv is not None:
        if run(uv, "pip", "install", "--python", python, *arguments) == 0:
            return 0
        _say("uv could not install this. Trying pip, which has settings of its own (pip.conf, PIP_*) that uv ignores")
        code = run(python, "-m", "ensurepip")
    return code or run(python, "-m", "pip", "install", "--disable-pip-version-check", *arguments)


def _mark(path: Path) -> None:
    """The last thing that is done, all at once: what has the mark is complete."""
    draft = path.with_suffix(".tmp")
    with draft.open("w") as file:
        os.fsync(file.fileno())
    draft.replace(path)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(json.loads(Path(sys.argv[1]).read_text("utf-8"))))
