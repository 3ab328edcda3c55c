"""How long it takes from a submission to `slipway up` to the call that starts its training job, and how many a burst
brings there in a second.

`slipway up` is a real process, as a user starts it; submissions go over HTTP; SageMaker is the stand-in on loopback, in
this process, so that its work and that of who submits is on the same cores. The image is there already.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any

from tests.conditions import eventually
from tests.standins.aws.moto_server import environment
from tests.standins.aws.sagemaker import SageMakerStandin

from bench.figure import Figure
from bench.place import SPEC

ONE_BY_ONE = 20
BURST = 100
CLIENTS = 4
"""Connections over which the burst is submitted."""
WANDB_ONE, WANDB_BURST = "W&B's agent: 8.6 s", "W&B's agent: 1.5/s"
"""Measured once, against an endpoint on loopback as here."""
CONFIG = {
    "RoleArn": "arn:aws:iam::123456789012:role/runs",
    "OutputDataConfig": {"S3OutputPath": "s3://bucket/prefix"},
    "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 30},
    "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
}
IMAGE = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/train:1"


def figures() -> Iterator[Figure]:
    with (
        tempfile.TemporaryDirectory(prefix="slipway-bench-") as folder,
        SageMakerStandin() as sagemaker,
        _up(Path(folder), sagemaker) as slipway,
    ):
        slipway.prepare()
        # The first start makes the client, which a user pays once.
        slipway.submit()
        eventually(lambda: len(_started(sagemaker)) == 1, within=60)
        yield from _one_by_one(slipway, sagemaker)
        yield from _burst(slipway, sagemaker)
        yield Figure("`slipway up` with a SageMaker queue, memory (RSS)", f"{slipway.memory() / 1e6:.0f} MB", "")


def _one_by_one(slipway: _Slipway, sagemaker: SageMakerStandin) -> Iterator[Figure]:
    submitted = {}
    for number in range(ONE_BY_ONE):
        at = time.time()
        submitted[slipway.submit()] = at
        eventually(lambda number=number: len(_started(sagemaker)) == number + 2, within=60)
        threading.Event().wait(max(0.0, at + 0.5 - time.time()))
    started = _started(sagemaker)
    cuts = quantiles([started[item] - at for item, at in submitted.items()], n=100, method="inclusive")
    for name, value, bound in (("p50", cuts[49], 0.040), ("p99", cuts[98], 0.250)):
        what = f"submission → CreateTrainingJob, {name} of {ONE_BY_ONE} at 2/s ({WANDB_ONE})"
        yield Figure(what, f"{value * 1000:.1f} ms", f"≤ {bound * 1000:.0f} ms", value <= bound)


def _burst(slipway: _Slipway, sagemaker: SageMakerStandin) -> Iterator[Figure]:
    before = _started(sagemaker).keys()
    begun = time.time()
    with ThreadPoolExecutor(CLIENTS) as pool:
        items = {future.result() for future in [pool.submit(slipway.submit) for _ in range(BURST)]}
    accepted = time.time()
    eventually(lambda: len(_started(sagemaker)) == len(before) + BURST, within=60)
    started = _started(sagemaker)
    assert started.keys() - before == items, "each item is started, and once"
    last = max(started[item] for item in items)
    rate = BURST / (last - begun)
    yield Figure(f"burst of {BURST}, from the first submission to the last accepted", f"{accepted - begun:.2f} s", "")
    yield Figure(
        f"burst of {BURST} submitted and launched on SageMaker ({WANDB_BURST})", f"{rate:.0f}/s", "≥ 100/s", rate >= 100
    )


@dataclass(frozen=True)
class _Slipway:
    """One that is up."""

    host: str
    pid: int

    def prepare(self) -> None:
        queue = {"resource": "sagemaker", "config": CONFIG, "max_jobs": -1}
        self._send("PUT", "/v1/queues/team/gpu", queue)

    def submit(self) -> str:
        """The new item's id."""
        answer = self._send("POST", "/v1/items", {**SPEC, "queue": "gpu", "docker": {"docker_image": IMAGE}})
        return str(answer["id"])

    def memory(self) -> int:
        """Bytes."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))

    def _send(self, method: str, path: str, body: Any) -> Any:
        connection = http.client.HTTPConnection(self.host, timeout=30)
        try:
            connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        assert answer.status < 300, content
        return json.loads(content)


@contextmanager
def _up(folder: Path, sagemaker: SageMakerStandin) -> Iterator[_Slipway]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLIPWAY_", "AWS_"))}
    env = {**kept, **environment(sagemaker.url), "SLIPWAY_HOME": str(folder)}
    command = [sys.executable, "-c", "from slipway.cli.main import run; run()", "up", "--port", "0"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        try:
            eventually(lambda: (folder / "up.json").exists() or process.poll() is not None, within=60)
            url = json.loads((folder / "up.json").read_text())["url"]
            yield _Slipway(url.removeprefix("http://"), process.pid)
        finally:
            process.terminate()
            process.wait(30)


def _started(sagemaker: SageMakerStandin) -> dict[str, float]:
    """Item → when its CreateTrainingJob arrived."""
    return {call.body["Environment"]["SLIPWAY_ITEM"]: call.at for call in sagemaker.calls("CreateTrainingJob")}
