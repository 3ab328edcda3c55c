"""The target contract on the in-memory backend, its runs being played by real scripts."""

from __future__ import annotations

import copy
import itertools
import os
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from tests.contracts.target_contract import SECRET, MakeLaunch, OwnMachineContract, TargetContract

from slipway.adapters.local.metrics import read_metrics
from slipway.adapters.memory.secrets import MemorySecrets
from slipway.adapters.memory.target import MemoryRun, MemoryTarget
from slipway.errors import AlreadyExists
from slipway.model import Launch, RunPhase, RunRef, RunStatus


class TestMemoryTarget(OwnMachineContract, TargetContract):
    runs_here = False

    @pytest.fixture
    def target(self, tmp_path: Path) -> MemoryTarget:
        secrets = MemorySecrets({"SECRET_OF_TEST": SECRET})

        def play(launch: Launch, run: MemoryRun) -> None:
            values = {name: secrets.get(reference) or "" for name, reference in launch.secrets.items()}
            output = tmp_path / launch.run.name
            output.mkdir()
            env = {**os.environ, **launch.env, **values, "SLIPWAY_OUTPUT_DIR": str(output)}
            threading.Thread(target=_run, args=(launch, run, env, output), daemon=True).start()

        return MemoryTarget(play)

    @pytest.fixture
    def fresh_target(self, target: MemoryTarget) -> MemoryTarget:
        return copy.copy(target)

    @pytest.fixture
    def launch(self) -> MakeLaunch:
        numbers = itertools.count(1)

        def make(script: str, **changes: object) -> Launch:
            return replace(a_launch(f"item{next(numbers)}", script), **changes)  # type: ignore[arg-type]

        return make

    def test_a_name_that_somebody_else_has_is_not_adopted(self) -> None:
        target = MemoryTarget(taken=frozenset({"slipway-item1-1"}))
        with pytest.raises(AlreadyExists):
            target.start(a_launch("item1", "exit 0"))

    def test_a_lost_run_is_absent(self) -> None:
        target = MemoryTarget()
        target.start(a_launch("item1", "exit 0"))
        target.lose(RunRef("item1", 1))
        assert target.status(RunRef("item1", 1)).phase is RunPhase.ABSENT


def a_launch(item: str, script: str) -> Launch:
    return Launch(
        run=RunRef(item, 1),
        run_id=f"run-of-{item}",
        image="img",
        entry_point=("sh", "-c", script),
        args=(),
        env={"WANDB_RUN_ID": f"run-of-{item}", "SLIPWAY_ITEM": item},
        secrets={},
        resource_args={},
        entity="team",
        project="digits",
        run_name="a run",
    )


def _run(launch: Launch, run: MemoryRun, env: dict[str, str], output: Path) -> None:
    try:
        process = subprocess.Popen(
            launch.command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8"
        )
    except OSError as error:
        run.move(RunStatus(RunPhase.FAILED, f"{launch.command[0]}: {error.strerror}", exit_code=127))
        return
    threading.Thread(target=_kill_when_over, args=(process, run), daemon=True).start()
    assert process.stdout is not None
    for line in process.stdout:
        run.say(line.rstrip("\n"))
    code = process.wait()
    metrics, warnings = read_metrics(output)
    phase = RunPhase.FINISHED if code == 0 else RunPhase.FAILED
    run.move(RunStatus(phase, f"exit code {code}", exit_code=code, metrics=metrics, warnings=warnings))


def _kill_when_over(process: subprocess.Popen[str], run: MemoryRun) -> None:
    while process.poll() is None:
        if run.status.phase is RunPhase.STOPPED:
            process.kill()
        with run._changed:
            run._changed.wait(0.05)
