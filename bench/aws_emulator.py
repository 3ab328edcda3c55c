"""Lambda on this machine, without Docker: the staged function under AWS's own runtime client and runtime emulator.

The emulator is the one that SAM CLI ships, the runtime client and the SDK those of requirements/aws-runtime.lock. The
Python is the one that this project's environment was made of, without its packages. What of Lambda is not here: the
micro VM, the fetching of the code, TLS, and a CPU that is given in proportion to the memory.
"""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import services
from tests.conditions import eventually
from tools.stage import BYTECODE_OF, ROOT, pack, stage

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Invocation:
    """What one invocation took. Seconds of the process's CPU but `wall` and `waited`, which are the clock's."""

    runtime: float
    """CPU of the interpreter and of AWS's runtime client, before the function's own module was imported."""
    init: float
    """CPU until the first invocation: that and the import of the function."""
    cpu: float
    wall: float
    modules: int
    """Loaded before this invocation, Python's own and the runtime client's included."""
    modules_after: int
    rss: int
    """Bytes."""
    answer: Any
    waited: float = 0.0
    """Seconds of whoever invoked: of a first invocation with the start of the process."""


@dataclass(frozen=True)
class Emulator:
    """`staged`: function → its folder."""

    program: Path
    runtime: Path
    staged: Mapping[str, Path]
    sizes: Mapping[str, int]
    """Function → bytes of its zip."""

    def run(
        self, function: str, handler: str, environment: Mapping[str, str], events: Sequence[Any]
    ) -> list[Invocation]:
        """The events one after the other, in one process that is started for them."""
        address, inner = (f"127.0.0.1:{services.free_port()}" for _ in range(2))
        folder = self.staged[function]
        python = str(getattr(sys, "_base_executable", sys.executable))
        told = {
            **environment,
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "PYTHONPATH": f"{folder}:{self.runtime}",
            "LAMBDA_TASK_ROOT": str(folder),
            "AWS_EXECUTION_ENV": "AWS_Lambda_python3.11",
            "AWS_LAMBDA_FUNCTION_NAME": function,
            "MEASURED": handler,
        }
        command = [
            *(str(self.program), "--runtime-interface-emulator-address", address, "--runtime-api-address", inner),
            *(python, "-S", "-m", "awslambdaric", "aws_probe.handler"),
        ]
        with tempfile.TemporaryFile() as log:
            process = subprocess.Popen(command, env=told, cwd=folder, stdout=log, stderr=log)
            try:
                eventually(lambda: services.listens(int(address.rpartition(":")[2])), within=30)
                return [_invoked(address, event) for event in events]
            finally:
                process.terminate()
                process.wait(30)


@contextmanager
def emulator(functions: Sequence[str]) -> Iterator[Emulator | None]:
    """With these functions of sam/app.py staged in it; None where this is not the machine for it."""
    if sys.version_info[:2] != BYTECODE_OF or platform.machine() != "x86_64":
        yield None
        return
    with ExitStack() as until:
        home = Path(until.enter_context(tempfile.TemporaryDirectory(prefix="slipway-bench-")))
        sizes = {}
        for name in functions:
            stage("aws", name, home / name)
            pack(home / name, home / f"{name}.zip")
            sizes[name] = (home / f"{name}.zip").stat().st_size
            for module in ("aws_probe.py", "aws_peer.py"):
                shutil.copyfile(HERE / module, home / name / module)
        yield Emulator(_program(), _runtime(home), {name: home / name for name in functions}, sizes)


def _invoked(address: str, event: Any) -> Invocation:
    import time

    url = f"http://{address}/2015-03-31/functions/function/invocations"
    begun = time.perf_counter()
    with urllib.request.urlopen(url, json.dumps(event).encode(), timeout=120) as answer:
        told = json.load(answer)
    waited = time.perf_counter() - begun
    if "errorType" in told:
        raise RuntimeError(f"{told['errorType']}: {told['errorMessage']}")
    return Invocation(**told, waited=waited)


def _program() -> Path:
    where = "import pathlib, samcli; print(pathlib.Path(samcli.__file__).parent)"
    command = [ROOT / "tools" / "sam", "--program", "python", "-c", where]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return Path(done.stdout.strip(), "local", "rapid", "aws-lambda-rie-x86_64")


def _runtime(home: Path) -> Path:
    """What Lambda's own Python has beside its standard library, with its bytecode."""
    folder, uv = home / "runtime", Path(sys.executable).with_name("uv")
    lock = ROOT / "requirements" / "aws-runtime.lock"
    command = [uv, "pip", "install", "-q", "--target", folder, "--require-hashes", "--no-deps", "-r", lock]
    subprocess.run(command, check=True)
    subprocess.run([sys.executable, "-m", "compileall", "-q", folder], check=False, capture_output=True)
    return folder
