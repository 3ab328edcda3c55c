"""What does not depend on the machine: modules, state writes, messages."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.figure import Figure
from bench.place import SPEC, NoopTarget, ports_at, with_queue
from slipway.functions.deliver import deliver
from slipway.functions.submit import submit
from slipway.model import Topic

IMPORTS = (
    "slipway.functions.advance, slipway.adapters.memory.store, slipway.adapters.memory.bus, "
    "slipway.adapters.memory.target, slipway.adapters.memory.builder, slipway.adapters.memory.sources, "
    "slipway.adapters.memory.clock, slipway.adapters.memory.secrets"
)


def figures() -> Iterator[Figure]:
    code = f"import sys; before = len(sys.modules); import {IMPORTS}; print(len(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = int(done.stdout)
    what = "modules that functions.advance with the memory adapters adds to a bare interpreter"
    yield Figure(what, str(modules), "≤ 120", modules <= 120)
    with tempfile.TemporaryDirectory(prefix="slipway-bench-") as folder:
        ports = with_queue(ports_at(Path(folder), NoopTarget()))
        item = submit(SPEC, ports)
        messages = 0
        while batch := ports.bus.receive([Topic.ADVANCE, Topic.BUILD], limit=10):
            messages += len(batch)
            ports.bus.ack([message for message in batch if deliver(message, ports)])
        over = ports.store.item(item.id)
        assert over is not None
        assert over.state.terminal
        # A run that is seen running before it ends is written once more than this no-op one.
        writes = over.version + 1
        yield Figure("state writes per launch, image present", str(writes), "≤ 4", writes <= 4)
        yield Figure("messages per launch, image present", str(messages), "≤ 2", messages <= 2)
