"""Runs as processes of this machine: the target contract, and what is particular to them."""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.contracts.target_contract import LONG, SECRET, MakeLaunch, OwnMachineContract, TargetContract

from slipway.adapters.local.process import ProcessTarget
from slipway.adapters.local.secrets import LocalSecrets
from slipway.adapters.local.supervised import Supervised
from slipway.errors import AlreadyExists, Invalid, Permanent, Refused
from slipway.model import Launch, RunPhase, RunRef, RunStatus

MACHINE = {"PATH": os.environ["PATH"], "HOME": "/home/of-test", "SECRET_OF_TEST": SECRET, "MINE": "of the machine"}


class ProcessFixtures:
    """A home in a temporary folder, with an environment that has a source tree and no venv."""

    @pytest.fixture
    def home(self, tmp_path: Path) -> Path:
        return tmp_path / "data"

    @pytest.fixture
    def environment(self, home: Path) -> Path:
        folder = home / "environments" / "abc"
        (folder / "src" / "deep").mkdir(parents=True)
        (folder / "src" / "hello.txt").write_text("hello\n")
        return folder

    @pytest.fixture
    def target(self, home: Path) -> Iterator[ProcessTarget]:
        yield self.make(home)
        for started in home.glob("runs/*/process"):
            Supervised(started).stop(grace=0.0)

    @pytest.fixture
    def fresh_target(self, home: Path) -> ProcessTarget:
        return self.make(home)

    @pytest.fixture
    def launch(self, environment: Path) -> MakeLaunch:
        numbers = itertools.count(1)

        def make(script: str, **changes: object) -> Launch:
            item = f"item{next(numbers)}"
            plain = Launch(
                run=RunRef(item, 1),
                run_id=f"run-of-{item}",
                image=f"env:{environment}",
                entry_point=("sh", "-c", script),
                args=(),
                env={"WANDB_RUN_ID": f"run-of-{item}", "SLIPWAY_ITEM": item},
                secrets={},
                resource_args={},
                entity="team",
                project="digits",
                run_name="a run",
            )
            return replace(plain, **changes)  # type: ignore[arg-type]

        return make

    def make(self, home: Path) -> ProcessTarget:
        return ProcessTarget(home, LocalSecrets(home, MACHINE), environ=MACHINE)


class TestProcessTarget(ProcessFixtures, OwnMachineContract, TargetContract):
    """S1: the resource `local-process`."""


class TestWhatIsParticular(ProcessFixtures):
    def ended(self, target: ProcessTarget, launch: Launch) -> RunStatus:
        target.start(launch)
        for _ in target.logs(launch.run, follow=True):
            pass
        return target.status(launch.run)

    def lines(self, target: ProcessTarget, launch: Launch) -> list[str]:
        self.ended(target, launch)
        return list(target.logs(launch.run))

    @pytest.mark.parametrize("image", ["python:3.11", "env:relative/path", "", "/data/environments/abc"])
    def test_a_container_image_is_refused(self, target: ProcessTarget, launch: MakeLaunch, image: str) -> None:
        with pytest.raises(Permanent, match="local-process cannot run a container image"):
            target.start(launch("exit 0", image=image))

    def test_an_environment_that_was_removed_is_named(self, target: ProcessTarget, launch: MakeLaunch) -> None:
        with pytest.raises(Permanent, match="/nowhere/at/all"):
            target.start(launch("exit 0", image="env:/nowhere/at/all"))

    def test_an_empty_command_is_refused(self, target: ProcessTarget, launch: MakeLaunch) -> None:
        with pytest.raises(Permanent, match="entry point"):
            target.start(launch("", entry_point=()))

    def test_a_run_goes_on_though_its_environment_was_removed(
        self, target: ProcessTarget, launch: MakeLaunch, environment: Path
    ) -> None:
        asked = launch(LONG)
        target.start(asked)
        environment.rename(environment.with_name("gone"))
        assert target.start(asked).phase is RunPhase.RUNNING

    def test_the_run_works_on_a_copy_of_its_own(
        self, target: ProcessTarget, launch: MakeLaunch, environment: Path
    ) -> None:
        assert self.lines(target, launch("cat hello.txt; echo changed > hello.txt")) == ["hello"]
        assert self.lines(target, launch("cat hello.txt")) == ["hello"]

    def test_the_environment_is_clean(
        self, target: ProcessTarget, launch: MakeLaunch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of Slipway itself")
        names = {line.partition("=")[0] for line in self.lines(target, launch("env"))}
        ours = {"PATH", "HOME", "PYTHONUNBUFFERED", "WANDB_RUN_ID", "SLIPWAY_ITEM", "SLIPWAY_OUTPUT_DIR"}
        assert names - {"PWD", "OLDPWD", "SHLVL", "_"} == ours

    def test_the_virtual_environment_comes_first(
        self, target: ProcessTarget, launch: MakeLaunch, environment: Path
    ) -> None:
        (environment / "venv" / "bin").mkdir(parents=True)
        (environment / "venv" / "bin" / "python").symlink_to(sys.executable)
        lines = self.lines(target, launch('command -v python; echo "$VIRTUAL_ENV"'))
        assert lines == [str(environment / "venv" / "bin" / "python"), str(environment / "venv")]

    @pytest.mark.parametrize(
        "env", [{"A": 1, "B": True, "MINE": None, "NOWHERE": None}, ["A=1", "B=true", "MINE", "NOWHERE"]]
    )
    def test_the_queue_sets_variables_and_passes_on_the_machines(
        self, target: ProcessTarget, launch: MakeLaunch, env: object
    ) -> None:
        asked = launch('echo "$A $B $MINE ${NOWHERE-unset}"', resource_args={"env": env})
        assert self.lines(target, asked) == ["1 true of the machine unset"]

    def test_the_queue_cannot_change_what_slipway_sets(self, target: ProcessTarget, launch: MakeLaunch) -> None:
        asked = launch(
            'echo "$WANDB_RUN_ID"; test -d "$SLIPWAY_OUTPUT_DIR" && echo there',
            resource_args={"env": {"WANDB_RUN_ID": "forged", "SLIPWAY_OUTPUT_DIR": "/nowhere"}},
        )
        assert self.lines(target, asked) == [asked.run_id, "there"]

    def test_a_secret_that_is_set_nowhere_is_left_out(self, target: ProcessTarget, launch: MakeLaunch) -> None:
        asked = launch('echo "${WANDB_API_KEY-unset}"', secrets={"WANDB_API_KEY": "WANDB_API_KEY"})
        assert self.lines(target, asked) == ["unset"]

    def test_it_starts_in_the_folder_of_the_tree_that_the_queue_names(
        self, target: ProcessTarget, launch: MakeLaunch
    ) -> None:
        assert self.lines(target, launch("basename $PWD", resource_args={"cwd": "deep"})) == ["deep"]

    @pytest.mark.parametrize("cwd", ["..", "/etc", "deep/../..", "out", "missing", 7])
    def test_it_never_starts_outside_of_the_tree(
        self, target: ProcessTarget, launch: MakeLaunch, environment: Path, cwd: object
    ) -> None:
        (environment / "src" / "out").symlink_to("/")
        with pytest.raises(Invalid, match=r"resource_args\.cwd"):
            target.start(launch("exit 0", resource_args={"cwd": cwd}))

    def test_an_unknown_resource_arg_is_refused_with_the_nearest(
        self, target: ProcessTarget, launch: MakeLaunch
    ) -> None:
        with pytest.raises(Invalid, match="'env'"):
            target.start(launch("exit 0", resource_args={"evn": {"A": "b"}}))

    def test_the_reason_names_the_signal(self, target: ProcessTarget, launch: MakeLaunch) -> None:
        status = self.ended(target, launch("kill -9 $$"))
        assert (status.phase, status.exit_code) == (RunPhase.FAILED, -signal.SIGKILL)
        assert status.reason.startswith("killed by SIGKILL")

    def test_the_reason_ends_with_the_last_words_of_the_run(self, target: ProcessTarget, launch: MakeLaunch) -> None:
        status = self.ended(target, launch("echo a; echo b; echo; echo '  ValueError: no'; exit 3"))
        assert status.reason == "exit code 3: b | ValueError: no"

    def test_a_secret_of_many_lines_is_hidden_line_by_line(
        self, target: ProcessTarget, launch: MakeLaunch, home: Path
    ) -> None:
        key = home / "secrets" / "KEY"
        key.parent.mkdir()
        key.write_text("-----BEGIN-----\nabcdef\n")
        key.chmod(0o600)
        asked = launch('echo "$KEY"; exit 1', secrets={"KEY": "KEY"})
        assert self.ended(target, asked).reason == "exit code 1: *** | ***"
        key.chmod(0o644)
        assert target.status(asked.run).reason == "exit code 1"

    def test_a_run_whose_supervisor_and_process_vanished_is_failed(
        self, target: ProcessTarget, launch: MakeLaunch, home: Path
    ) -> None:
        asked = launch(LONG)
        target.start(asked)
        record = json.loads((home / "runs" / asked.run.name / "process" / "started.json").read_text())
        os.kill(record["supervisor"][0], signal.SIGKILL)
        os.kill(record["job"][0], signal.SIGKILL)
        for _ in target.logs(asked.run, follow=True):
            pass
        status = target.status(asked.run)
        assert (status.phase, status.exit_code) == (RunPhase.FAILED, None)
        assert "the process disappeared" in status.reason

    def test_a_crash_half_way_through_preparing_leaves_nothing_behind(
        self, target: ProcessTarget, launch: MakeLaunch, home: Path
    ) -> None:
        asked = launch("ls; cat hello.txt")
        draft = home / "runs" / f".{asked.run.name}"
        (draft / "work").mkdir(parents=True)
        (draft / "work" / "half").write_text("a half-copied file")
        assert target.status(asked.run).phase is RunPhase.ABSENT
        assert self.lines(target, asked) == ["deep", "hello.txt", "hello"]
        assert not draft.exists()

    def test_a_crash_between_preparing_and_starting_is_made_up_for(
        self, target: ProcessTarget, launch: MakeLaunch, home: Path
    ) -> None:
        first = launch("exit 0", resource_args={"cwd": "missing"})
        with pytest.raises(Invalid):
            target.start(first)
        assert (home / "runs" / first.run.name).is_dir()
        assert target.status(first.run).phase is RunPhase.ABSENT
        assert self.ended(target, replace(first, resource_args={})).phase is RunPhase.FINISHED

    def test_a_run_stopped_before_it_began_does_not_begin(
        self, target: ProcessTarget, launch: MakeLaunch, home: Path
    ) -> None:
        asked = launch("exit 0", resource_args={"cwd": "missing"})
        with pytest.raises(Invalid):
            target.start(asked)
        target.stop(asked.run)
        assert target.start(replace(asked, resource_args={})).phase is RunPhase.STOPPED

    def test_a_folder_that_is_not_ours_is_left_alone(
        self, target: ProcessTarget, launch: MakeLaunch, home: Path
    ) -> None:
        asked = launch("exit 0")
        (home / "runs" / asked.run.name).mkdir(parents=True)
        with pytest.raises(AlreadyExists, match=asked.run.name):
            target.start(asked)

    def test_a_folder_that_cannot_be_prepared_starts_nothing(
        self, target: ProcessTarget, launch: MakeLaunch, home: Path
    ) -> None:
        (home / "runs").write_text("in the way")
        with pytest.raises(Refused, match="cannot be prepared"):
            target.start(launch("exit 0"))

    def test_numbers_that_json_does_not_have_become_their_names(
        self, target: ProcessTarget, launch: MakeLaunch
    ) -> None:
        made = """echo '{"loss": NaN, "best": -Infinity, "huge": 1e999}' > "$SLIPWAY_OUTPUT_DIR/metrics.json" """
        assert self.ended(target, launch(made)).metrics == {"loss": "NaN", "best": "-Infinity", "huge": "1e999"}

    @pytest.mark.parametrize(
        "make", ["mkfifo $F", "mkdir $F", "head -c 60000 /dev/zero | tr '\\0' '[' > $F", "echo '\\377' > $F"]
    )
    def test_hostile_metrics_are_a_warning(self, target: ProcessTarget, launch: MakeLaunch, make: str) -> None:
        status = self.ended(target, launch(f"F=$SLIPWAY_OUTPUT_DIR/metrics.json; {make}"))
        assert (status.phase, status.metrics, len(status.warnings)) == (RunPhase.FINISHED, {}, 1)
