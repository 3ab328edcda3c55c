"""Import cost by count, in a fresh interpreter: modules, not seconds (design §8)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

COUNT = "import sys; before = set(sys.modules); {}; print('\\n'.join(sorted(set(sys.modules) - before)))"
TOPICS = ("SUBMIT", "ADVANCE", "BUILD")
MEMORY = (
    "import slipway.functions.advance, slipway.adapters.memory.store, slipway.adapters.memory.bus, "
    "slipway.adapters.memory.target, slipway.adapters.memory.builder, slipway.adapters.memory.sources, "
    "slipway.adapters.memory.clock, slipway.adapters.memory.secrets"
)
SAM = Path(__file__).parents[2] / "sam"
DEPLOYED = "import os, sys; sys.path.insert(0, {!r}); os.environ |= {!r}; import app; app.ports(); {}"
ENVIRONMENT = {
    **{f"SLIPWAY_{kind}_{topic}": f"https://sqs/1/{topic}" for kind in ("QUEUE", "DEAD") for topic in TOPICS},
    **{"SLIPWAY_TABLE": "table", "SLIPWAY_BUCKET": "bucket", "SLIPWAY_CODEBUILD_PROJECT": "project"},
    **{"SLIPWAY_DESTINATION": "1.dkr.ecr.eu-west-1.amazonaws.com/x", "AWS_REGION": "eu-west-1"},
    # So that tracing is on, as in Lambda.
    **{"LAMBDA_TASK_ROOT": str(SAM), "POWERTOOLS_TRACE_DISABLED": "false", "POWERTOOLS_SERVICE_NAME": "slipway"},
}
"""Of a function."""
BATCHES = "import slipway.functions.deliver, slipway.adapters.aws.letters, aws_lambda_powertools.utilities.batch"
TARGET = "slipway.adapters.aws.sagemaker"
HANDLERS = {
    "submit": ("import slipway.web.quick", 470),
    "advance": (f"{BATCHES}, {TARGET}", 540),
    "build": (BATCHES, 540),
    "observe": (f"import slipway.functions.observe, slipway.adapters.aws.events, {TARGET}", 480),
    "tick": (f"import slipway.functions.tick, {TARGET}", 480),
}
"""Handler → what it imports when it is called, its clients left out, and how many modules that and the rest may be.
Most of them are botocore's, powertools' and those of X-Ray's SDK."""


def loaded(statement: str) -> list[str]:
    # -S: what site-packages' .pth files load is not ours.
    script = f"import sys; sys.path[:0] = {[path for path in sys.path if path]!r}; {COUNT.format(statement)}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_advance_with_memory_adapters_loads_at_most_120_modules() -> None:
    modules = loaded(MEMORY)
    assert len(modules) <= 120, modules


def test_advance_loads_nothing_that_is_not_ours_or_the_standard_library() -> None:
    ours = {*sys.stdlib_module_names, "slipway", "__editable___slipway_0_1_0_finder"}
    assert {name for name in loaded(MEMORY) if name.split(".")[0] not in ours} == set()


def test_the_command_line_says_help_without_loading_what_serves() -> None:
    modules = loaded("import slipway.cli.main")
    heavy = {"fastapi", "uvicorn", "dulwich", "pydantic", "starlette"}
    assert {name for name in modules if name.split(".")[0] in heavy} == set()


def deployed(more: str) -> list[str]:
    """Of a function on AWS, in its own process: its entry, its ports and `more`."""
    return loaded(DEPLOYED.format(str(SAM), ENVIRONMENT, more))


@pytest.mark.parametrize("name", HANDLERS)
def test_a_function_on_aws_starts_within_its_budget(name: str) -> None:
    more, most = HANDLERS[name]
    modules = deployed(more)
    assert len(modules) <= most, modules


def test_a_cluster_costs_a_function_nothing_before_a_run_is_to_run_there() -> None:
    with_cluster = {**ENVIRONMENT, "SLIPWAY_EKS_CLUSTER": "gpus"}
    modules = loaded(DEPLOYED.format(str(SAM), with_cluster, "pass"))
    assert modules == deployed("pass")


def test_what_speaks_to_a_cluster_is_ours_and_the_standard_librarys() -> None:
    """urllib3 and ssl are loaded by the first call: boto3 has them already."""
    here = "slipway.adapters.kubernetes.target, slipway.adapters.aws.eks"
    modules = set(loaded(f"import {here}"))
    ours = {*sys.stdlib_module_names, "slipway", "__editable___slipway_0_1_0_finder"}
    assert {name for name in modules if name.split(".")[0] not in ours} == set()
    assert len(modules) <= 120, modules


@pytest.mark.parametrize("name", HANDLERS)
def test_a_function_on_aws_loads_nothing_that_it_has_no_use_for(name: str) -> None:
    modules = set(deployed(HANDLERS[name][0]))
    others = {f"slipway.render.{resource}" for resource in ("docker", "kubernetes", "process", "vertex")}
    heavy = {"boto3", "s3transfer", "fastapi", "pydantic", "starlette", "mangum", "dulwich", "httpx", "yaml"}
    batches = {"aws_lambda_powertools.utilities.batch"} if name in ("submit", "observe", "tick") else set()
    assert modules & (others | heavy | batches) == set()
