"""How many Jobs one worker launches in a second, beside a bare loop of Kubernetes' own client on the same API server;
how many calls that takes; and what the adapter's import costs beside that client's.

The Jobs ask for no pod (`parallelism: 0`), so that the cluster's controllers and its node are not what is measured.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from tests import cluster

from bench.figure import Figure
from bench.place import SPEC, ports_at
from slipway.adapters.kubernetes.access import Access, from_kubeconfig
from slipway.adapters.kubernetes.api import Api
from slipway.adapters.kubernetes.target import KubernetesTarget
from slipway.adapters.memory.secrets import MemorySecrets
from slipway.functions.deliver import deliver
from slipway.functions.submit import submit
from slipway.launch import launch
from slipway.model import Item, Queue, State, Topic
from slipway.ports import Ports
from slipway.render.kubernetes import manifest
from slipway.render.surroundings import Cluster

JOBS = 500
ROUNDS = 3
CONFIG = {"spec": {"parallelism": 0, "template": {"spec": {"containers": [{"image": "train:1"}]}}}}
OURS = "from slipway.adapters.kubernetes import target, access, api; import urllib3, ssl"
THEIRS = "import kubernetes; kubernetes.client.BatchV1Api"


def figures() -> Iterator[Figure]:
    yield from _imports()
    with cluster.namespace("bench") as namespace, tempfile.TemporaryDirectory(prefix="slipway-bench-") as folder:
        access = from_kubeconfig(str(cluster.kubeconfig()))
        yield from _calls(access, namespace, Path(folder))
        yield from _rates(access, namespace, Path(folder))


def _imports() -> Iterator[Figure]:
    """CPU seconds and modules, in a fresh interpreter; medians."""
    for what, statement in (("the client `kubernetes`", THEIRS), ("the adapter, without a kubeconfig", OURS)):
        told = [_fresh(statement) for _ in range(5)]
        seconds, modules, kilobytes = (median(each[index] for each in told) for index in range(3))
        measured = f"{seconds * 1000:.0f} ms CPU, {modules:.0f} modules, {kilobytes / 1024:.0f} MB"
        yield Figure(f"import of {what}", measured, "")


def _fresh(statement: str) -> tuple[float, float, float]:
    script = (
        "import os, re, sys; begun, before = sum(os.times()[:2]), len(sys.modules); "
        f"{statement}; "
        # Not getrusage's maximum, which is at least that of whoever started this process.
        "print(sum(os.times()[:2]) - begun, len(sys.modules) - before, "
        "re.search(r'VmRSS:\\s+(\\d+)', open('/proc/self/status').read())[1])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    seconds, modules, kilobytes = done.stdout.split()
    return float(seconds), float(modules), float(kilobytes)


def _calls(access: Access, namespace: str, folder: Path) -> Iterator[Figure]:
    for what, secrets in (("without secrets", {}), ("with a secret", {"WANDB_API_KEY": "k"})):
        api = _CountingApi(access)
        _launched(_ports(api, namespace, folder / what.replace(" ", "-"), secrets), 1)
        yield Figure(f"calls on the API server per launch, {what}", str(api.count), "≤ 4", api.count <= 4)


def _rates(access: Access, namespace: str, folder: Path) -> Iterator[Figure]:
    ports = _ports(Api(access), namespace, folder / "rates", {})
    bare, ours = [], []
    for _ in range(ROUNDS):
        bare.append(_bare(namespace, ports))
        ours.append(_launched(ports, JOBS))
    share = median(one / other for one, other in zip(ours, bare, strict=True))
    yield Figure(f"{JOBS} Jobs by a bare loop of create_namespaced_job", f"{median(bare):.0f}/s", "")
    what = f"{JOBS} Jobs launched by one worker, beside that loop"
    yield Figure(what, f"{share:.0%}   ({median(ours):.0f}/s)", "≥ 50 %", share >= 0.5)


def _ports(api: Api, namespace: str, home: Path, secrets: Mapping[str, str]) -> Ports:
    where = Cluster(namespace=namespace)
    target = KubernetesTarget(api, where, MemorySecrets(secrets), namespaces=[namespace])
    ports = ports_at(home, target)
    ports.store.save_queue(Queue("team", "noop", "kubernetes", config=CONFIG, max_jobs=-1))
    return ports


def _bare(namespace: str, ports: Ports) -> float:
    """Jobs per second of manifests that lie ready."""
    items = [submit(SPEC, ports) for _ in range(JOBS)]
    bodies = [_manifest(item, namespace) for item in items]
    while batch := ports.bus.receive([Topic.ADVANCE], limit=10):
        ports.bus.ack(batch)  # these are nobody's to launch
    batch_api = cluster.batch()
    begun = time.perf_counter()
    for body in bodies:
        batch_api.create_namespaced_job(namespace, body)
    return JOBS / (time.perf_counter() - begun)


def _launched(ports: Ports, count: int) -> float:
    """Jobs per second of one worker: received, looked at, claimed, rendered, launched, written down, acknowledged."""
    items = [submit(SPEC, ports) for _ in range(count)]
    begun = time.perf_counter()
    while batch := ports.bus.receive([Topic.ADVANCE], limit=10):
        ports.bus.ack([message for message in batch if deliver(message, ports)])
    seconds = time.perf_counter() - begun
    started = [ports.store.item(item.id) for item in items]
    assert all(item is not None and item.state is State.STARTING and item.backend_id for item in started)
    return count / seconds


def _manifest(item: Item, namespace: str) -> dict[str, Any]:
    return manifest(launch(item.but(image="train:1")), Cluster(namespace=namespace))


class _CountingApi(Api):
    count = 0

    def _send(self, *arguments: Any, **more: Any) -> Any:
        self.count += 1
        return super()._send(*arguments, **more)
