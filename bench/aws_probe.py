"""Runs inside the emulated function, in the place of its handler: how much CPU the process had used by its first
invocation, and what each invocation costs.

Imports nothing that the runtime has not loaded before it.
"""

import time

_at_first = time.process_time()

import importlib  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402

_module, _, _name = os.environ["MEASURED"].partition(".")
_measured = getattr(importlib.import_module(_module), _name)
_ready = time.process_time()


def handler(event, context):  # type: ignore[no-untyped-def]
    """The answer of the measured handler, and the figures beside it: seconds, modules, and bytes."""
    modules = len(sys.modules)
    cpu, wall = time.process_time(), time.perf_counter()
    answer = _measured(event, context)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    with open("/proc/self/status") as status:  # noqa: PTH123
        rss = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS"))
    return {
        "runtime": _at_first,
        "init": _ready,
        "cpu": cpu,
        "wall": wall,
        "modules": modules,
        "modules_after": len(sys.modules),
        "rss": rss,
        "answer": answer,
    }
