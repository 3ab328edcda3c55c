"""Invokes the functions on AWS with every sample event, in containers, by `sam local invoke`.

usage: python -m tools.sam_local [EVENT ...]      (make sam-local [EVENT=api-submit])

What is invoked is what `sam build` makes, in an image of Lambda's layout (tools/lambda-image). AWS is moto and the
stand-ins of the tests, on the address of Docker's bridge: containers reach it, other machines do not. Every event has a
deployment of its own, as tests/standins/aws/sample_events.py describes it, and is judged by the function's answer and
by what there is afterwards: `sam local invoke` succeeds when the function fails. The exit status is 1 if one did not do
as it should; its function's log is shown.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml
from tests.pushing import push
from tests.standins.aws import private_registry, sample_events
from tests.standins.aws.moto_server import REGION, moto_server
from tests.standins.aws.sample_world import SampleWorld, sample_world

ROOT = Path(__file__).parents[1]
EVENTS = ROOT / "events" / "aws"
SAM = ROOT / "tools" / "sam"
BUILT = ROOT / "build" / "sam-local"
TEMPLATE = BUILT / "local.yaml"
"""The built template, and what only a function in a container is told: `sam local` passes on what a template names."""
ONLY_HERE = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SAGEMAKER", "AWS_ENDPOINT_URL_CODEBUILD", "SSL_CERT_FILE")
CERTIFICATE = "registry.pem"
SOURCES = ("sam", "shared", "functions", "requirements", "tools/stage.py", "tools/closure.py", "pyproject.toml")
"""What a build is made from."""
AT_ONCE = min(2, os.cpu_count() or 1)
LONGEST = 180
"""Seconds for one invocation."""


class Fault(Exception):
    """What keeps events from being invoked; its text says what to do."""


@dataclass(frozen=True)
class Invoked:
    """How one event went; `problems` is empty where all is as it should be."""

    event: str
    answer: str
    told: str
    seconds: float
    problems: tuple[str, ...]
    log: str


def main(arguments: Sequence[str]) -> int:
    known = sample_events.SAMPLES
    if strange := [name for name in arguments if name not in known]:
        print(f"there is no sample event {strange[0]!r}; there is: {', '.join(known)}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, _interrupted)
    try:
        results = invoke_all(arguments or list(known))
    except Fault as fault:
        print(fault, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return judged(results)


def invoke_all(names: Sequence[str]) -> list[Invoked]:
    """As many at once as there are processors for, two at most; a line is printed for each. Raises Fault."""
    _check_machine()
    bridge = _bridge()
    results = []
    with tempfile.TemporaryDirectory(prefix="slipway-sam-local-") as folder, ExitStack() as stack:
        certificate = stack.enter_context(_registry(bridge, Path(folder)))
        # There is one such registry on a machine, so whoever has it has what is built, too.
        build()
        for each in BUILT.glob("*Function"):
            shutil.copyfile(certificate, each / CERTIFICATE)
        stack.enter_context(_no_containers_left())
        spawn = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(min(AT_ONCE, len(names)), spawn, _begin, (bridge,))
        stack.callback(pool.shutdown, cancel_futures=True)
        print(f"{'event':28}{'function':17}{'answer':22}{'seconds':>7}  {'':7}afterwards")
        for result in pool.map(_invoke, names):
            results.append(result)
            function = sample_events.SAMPLES[result.event].function
            verdict = "FAILED" if result.problems else "ok"
            line = f"{result.event:28}{function:17}{result.answer:22}{result.seconds:7.1f}  {verdict:7}{result.told}"
            print(line, flush=True)
    return results


def build() -> None:
    """What `sam build` makes of the checkout as it is, and the image it runs in. Raises Fault."""
    if subprocess.run([ROOT / "tools" / "lambda-image"], stdout=subprocess.DEVNULL).returncode != 0:
        raise Fault("the image of Lambda's layout could not be made (tools/lambda-image)")
    mark = BUILT / "made-from"
    making = _digest()
    if mark.is_file() and mark.read_text() == making:
        return
    print("building the functions", file=sys.stderr)
    shutil.rmtree(BUILT, ignore_errors=True)
    # In sam/, where its settings are. The template that it makes lies beside the functions.
    done = subprocess.run([SAM, "build", "--build-dir", BUILT], cwd=ROOT / "sam", capture_output=True, text=True)
    if done.returncode != 0:
        raise Fault(f"{done.stdout}{done.stderr}\n`sam build` failed")
    template = yaml.safe_load((BUILT / "template.yaml").read_text())
    template["Globals"]["Function"]["Environment"]["Variables"] |= dict.fromkeys(ONLY_HERE, "")
    TEMPLATE.write_text(yaml.safe_dump(template, sort_keys=False))
    mark.write_text(making)


def judged(results: Sequence[Invoked]) -> int:
    """The exit status; what failed is printed with its function's log."""
    failed = [result for result in results if result.problems]
    for result in failed:
        print(f"\n--- {result.event}", *result.problems, "its function's log:", result.log, sep="\n")
    print(f"\n{len(results)} events, {len(failed)} failed")
    return 1 if failed else 0


# --- in a process of a lane


_lane: dict[str, Any] = {}
"""Of this process: the address of the bridge, and moto's URL."""


def _begin(bridge: str) -> None:
    signal.signal(signal.SIGTERM, _interrupted)
    _lane["bridge"] = bridge
    _lane["stack"] = ExitStack()
    _lane["moto"] = _lane["stack"].enter_context(moto_server(bridge))


def _invoke(name: str) -> Invoked:
    sample = sample_events.SAMPLES[name]
    with sample_world(_lane["bridge"], _lane["moto"]) as world:
        sample.given(world)
        before = world.items()
        began = time.monotonic()
        output, log = _sam(name, sample.function, world)
        seconds = time.monotonic() - began
        try:
            answer = sample_events.brief(answer_of(output))
            problems = [] if answer == sample.answer else [f"the answer is {answer!r}, and not {sample.answer!r}"]
        except ValueError as error:
            answer, problems = "", [str(error)]
        told = world.told()
        if told != sample.told:
            problems.append(f"there is {told!r}, and not {sample.told!r}")
        if (world.items() != before) is not sample.changes:
            problems.append("an item was changed" if not sample.changes else "no item was changed")
    return Invoked(name, answer, told, seconds, tuple(problems), f"{output}\n{log}")


def answer_of(output: str) -> Any:
    """What a function answered, by what `sam local invoke` printed. Raises ValueError where it failed."""
    last = output.strip().rpartition("\n")[2]
    if not last:
        raise ValueError("the function gave no answer: it timed out, or was killed")
    try:
        answer = json.loads(last)
    except ValueError as error:
        raise ValueError(f"the last line is no answer: {last[:200]}") from error
    if isinstance(answer, dict) and "errorType" in answer:
        raise ValueError(f"the function failed: {answer['errorType']}: {answer.get('errorMessage')}")
    return answer


def _sam(name: str, function: str, world: SampleWorld) -> tuple[str, str]:
    """What it printed, and the function's log."""
    told = {**world.environment, "SSL_CERT_FILE": f"/var/task/{CERTIFICATE}"}
    with tempfile.TemporaryDirectory(prefix="slipway-sam-local-") as folder:
        variables, event = Path(folder, "variables.json"), Path(folder, "event.json")
        variables.write_text(json.dumps({"Parameters": told}))
        event.write_text(json.dumps(world.received(json.loads((EVENTS / f"{name}.json").read_text()))))
        command = [
            *(SAM, "local", "invoke", function, "--template", TEMPLATE, "--event", event, "--env-vars", variables),
            *("--region", REGION, "--skip-pull-image", "--add-host", f"{private_registry.HOST}:{_lane['bridge']}"),
        ]
        process = subprocess.Popen(
            [*map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=without_aws(os.environ),
            start_new_session=True,
        )
        try:
            return process.communicate(timeout=LONGEST)
        except subprocess.TimeoutExpired:
            return "", f"`sam local invoke` did not end within {LONGEST} seconds"
        finally:
            _end(process)


def without_aws(environ: Mapping[str, str]) -> dict[str, str]:
    """Whoever calls this may have keys of a real account, here or in a file; no container is to see them."""
    kept = {name: value for name, value in environ.items() if not name.startswith("AWS_")}
    return {**kept, "AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}


def _end(process: subprocess.Popen[str]) -> None:
    """Asked first: then it removes its container."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


# --- this machine


def _check_machine() -> None:
    where = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    if missing := [name for name in ("docker", "docker-registry", "git") if shutil.which(name, path=where) is None]:
        raise Fault(f"{', '.join(missing)} is missing; install it with: make services")
    if _quiet("docker", "version").returncode != 0:
        raise Fault("no Docker engine answers; start one with: make services")


def _bridge() -> str:
    gateway = "{{(index .IPAM.Config 0).Gateway}}"
    found = _quiet("docker", "network", "inspect", "bridge", "--format", gateway).stdout.strip()
    if not found:
        raise Fault("Docker's bridge has no address on this machine, and functions in containers could reach nothing")
    return found


@contextmanager
def _registry(bridge: str, folder: Path) -> Iterator[Path]:
    """What plays ECR, with the one image in it that was built; its certificate."""
    where = f"{bridge}:{private_registry.PORT}, where the functions look for ECR,"
    with ExitStack() as stack:
        try:
            certificate = stack.enter_context(private_registry.private_registry(bridge, folder))
        except PermissionError as error:
            raise Fault(f"{where} may be listened on by root alone") from error
        except OSError as error:
            raise Fault(f"{where} is taken, perhaps by another `make sam-local`: {error}") from error
        push(bridge, "slipway", sample_events.IN_REGISTRY, private_registry.LOGIN, ca=certificate)
        yield certificate


@contextmanager
def _no_containers_left() -> Iterator[None]:
    """SAM removes its own, unless it was killed."""
    try:
        yield
    finally:
        for folder in BUILT.glob("*Function"):
            for left in _quiet("docker", "ps", "-aq", "--filter", f"volume={folder}").stdout.split():
                _quiet("docker", "rm", "-f", left)


def _digest() -> str:
    """Of all that a build is made from."""
    digest = hashlib.sha256()
    for source in SOURCES:
        top = ROOT / source
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(f"{path.relative_to(ROOT)}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\0".encode())
    return digest.hexdigest()


def _quiet(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True)


def _interrupted(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
