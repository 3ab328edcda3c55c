"""A real `slipway up` in a process of its own, a real repository, and a job that says when it starts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dulwich import porcelain
from tests.conditions import eventually

SLIPWAY = (sys.executable, "-c", "from slipway.cli.main import run; run()")
JOB = """
import json, os, sys, time
with open(os.environ["RECORD"], "a") as record:
    record.write(os.environ["SLIPWAY_ITEM"] + "\\n")
print("started", *sys.argv[1:], flush=True)
until, code = sys.argv[1], int(sys.argv[2])
while until != "-" and not os.path.exists(until):
    time.sleep(0.02)
print("ended 終", flush=True)
with open(os.path.join(os.environ["SLIPWAY_OUTPUT_DIR"], "metrics.json"), "w") as metrics:
    json.dump({"accuracy": 0.97}, metrics)
sys.exit(code)
"""


@dataclass
class Machine:
    """One data folder, and what is done with it."""

    root: Path
    ups: list[subprocess.Popen[str]] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)
    """More variables of its environment."""

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def environment(self) -> Mapping[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SLIPWAY_")}
        return {**kept, "SLIPWAY_HOME": str(self.home), "SLIPWAY_ENTITY": "team", "NO_COLOR": "1", **self.settings}

    def run(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        ended = subprocess.run(
            [*SLIPWAY, *arguments], capture_output=True, text=True, env=self.environment, timeout=60, check=False
        )
        assert ended.returncode == code, (arguments, ended)
        return ended

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "-o", "json").stdout)

    def up(self, *arguments: str) -> subprocess.Popen[str]:
        """Returns once it can be found."""
        number = len(self.ups)
        with (self.root / f"up-{number}.out").open("w") as out, (self.root / f"up-{number}.err").open("w") as err:
            options = ("--port", "0", "--allow-local-paths", "--tick", "0.5", *arguments)
            process = subprocess.Popen(
                [*SLIPWAY, "up", *options], stdout=out, stderr=err, text=True, env=self.environment
            )
        self.ups.append(process)
        eventually(lambda: self._found(process), within=30)
        return process

    def said(self, number: int = 0, stream: str = "err") -> str:
        return (self.root / f"up-{number}.{stream}").read_text()

    def stop(self) -> None:
        for process in self.ups:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.ups:
            process.wait(30)

    def prepare(self) -> None:
        """The repository with the job, and the queue `cpu`."""
        repository = self.root / "train"
        repository.mkdir()
        (repository / "train.py").write_text(JOB)
        porcelain.init(str(repository))
        porcelain.add(str(repository), [str(repository / "train.py")])
        porcelain.commit(str(repository), message=b"A job", author=b"A <a@example.com>", committer=b"A <a@example.com>")
        queue = {
            "name": "cpu",
            "resource": "local-process",
            "max_jobs": 2,
            "config": {"env": {"RECORD": str(self.record)}},
        }
        (self.root / "queue.json").write_text(json.dumps(queue))
        self.run("queue", "apply", str(self.root / "queue.json"))

    def submit(self, until: Path | None, code: int = 0, *more: str) -> str:
        """A job that goes on until a file is there, then exits with a code."""
        job = ("-u", str(self.root / "train"), "-E", "python train.py", "-a", str(until or "-"), "-a", str(code))
        return self.run("submit", "-q", "cpu", *job, *more).stdout.strip()

    @property
    def record(self) -> Path:
        return self.root / "record"

    @property
    def started(self) -> list[str]:
        """The items whose job has started, once for each time."""
        return self.record.read_text().split() if self.record.exists() else []

    def state(self, item: str) -> str:
        return str(self.json("show", item)["state"])

    def _found(self, process: subprocess.Popen[str]) -> bool:
        assert process.poll() is None, self.said(len(self.ups) - 1)
        return any(json.loads(file.read_text())["pid"] == process.pid for file in self.home.glob("up*.json"))
