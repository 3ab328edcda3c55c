"""What every target does, whatever runs the runs. A binding is a subclass with the fixtures below."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest
from tests.conditions import eventually

from slipway.errors import Permanent
from slipway.model import Launch, RunPhase, RunRef, RunStatus
from slipway.ports import Target

SECRET = "s3cr3t-value-that-nobody-may-see"
"""The value behind the reference `SECRET_OF_TEST`, which the binding's Secrets knows."""
OVER = {RunPhase.FINISHED, RunPhase.FAILED, RunPhase.STOPPED}
LONG = "echo begun; exec sleep 300"


class MakeLaunch(Protocol):
    def __call__(self, script: str, **changes: object) -> Launch: ...


class TargetContract:
    """The target port."""

    within: float = 20.0
    """Seconds that a short run may take from start to end on this backend."""
    lines_kept: tuple[str, ...] = ("first", "", "third: größer, 大きい")
    """Of a run that writes these three."""
    after_a_stop: RunPhase = RunPhase.STOPPED
    """Where what is stopped is removed, nothing of it is left to be seen."""
    output_folder: bool = True
    """Whether a run is given a folder for what it leaves behind."""

    @pytest.fixture
    def target(self) -> Target:
        """The adapter under test. What it started is gone after the test."""
        raise AssertionError("the binding provides it")

    @pytest.fixture
    def fresh_target(self) -> Target:
        """A second instance on the same backend: Slipway after a restart."""
        raise AssertionError("the binding provides it")

    @pytest.fixture
    def launch(self) -> MakeLaunch:
        """A launch that runs a POSIX shell script, with an item id of its own; `changes` replace fields of the Launch.
        `env` holds WANDB_RUN_ID and SLIPWAY_ITEM, as the launcher sets them."""
        raise AssertionError("the binding provides it")

    @pytest.fixture
    def stopper(self, target: Target) -> Iterator[list[RunRef]]:
        """Runs named here are stopped after the test."""
        runs: list[RunRef] = []
        yield runs
        for run in runs:
            target.stop(run)
            self.stopped(target, run)

    def end(self, target: Target, run: RunRef) -> RunStatus:
        """The status of a run once it is over."""

        def over() -> RunStatus | None:
            status = target.status(run)
            return status if status.phase in OVER else None

        status = eventually(over, within=self.within)
        assert status is not None
        return status

    def stopped(self, target: Target, run: RunRef) -> None:
        """Returns once a run that was stopped is over."""
        eventually(lambda: target.status(run).phase in {*OVER, self.after_a_stop}, within=self.within)

    def test_it_says_how_soon_to_look_again(self, target: Target) -> None:
        assert target.look_again > 0

    def test_it_says_how_long_a_start_may_take(self, target: Target) -> None:
        assert target.start_lease > 0

    def test_what_lives_is_listed_until_it_is_over(
        self, target: Target, fresh_target: Target, launch: MakeLaunch
    ) -> None:
        """What nobody wants any more is found so, and stopped."""
        asked, over = launch(LONG), launch("exit 0")
        target.start(over)
        self.end(target, over.run)
        target.start(asked)
        eventually(lambda: target.status(asked.run).phase is RunPhase.RUNNING, within=self.within)
        for each in (target, fresh_target):
            named = {(run.item_id, run.attempt) for run in each.live()}
            assert (asked.run.item_id, 1) in named
            assert (over.run.item_id, 1) not in named
        target.stop(asked.run)
        self.stopped(target, asked.run)
        assert asked.run.item_id not in {run.item_id for run in target.live()}

    def test_an_unknown_run_is_absent(self, target: Target) -> None:
        assert target.status(RunRef("nobody", 1)).phase is RunPhase.ABSENT

    def test_an_unknown_run_has_no_logs(self, target: Target) -> None:
        assert list(target.logs(RunRef("nobody", 1))) == []

    def test_a_started_run_is_seen(self, target: Target, launch: MakeLaunch, stopper: list[RunRef]) -> None:
        asked = launch(LONG)
        stopper.append(asked.run)
        assert target.start(asked).phase in {RunPhase.STARTING, RunPhase.RUNNING}
        assert eventually(lambda: target.status(asked.run).phase is RunPhase.RUNNING, within=self.within)

    def test_a_run_that_exits_with_zero_is_finished(self, target: Target, launch: MakeLaunch) -> None:
        asked = launch("exit 0")
        target.start(asked)
        status = self.end(target, asked.run)
        assert (status.phase, status.exit_code) == (RunPhase.FINISHED, 0)

    def test_a_run_that_exits_with_another_code_is_failed_and_says_so(self, target: Target, launch: MakeLaunch) -> None:
        asked = launch("echo 'the disk of the moon is full' >&2; exit 3")
        target.start(asked)
        status = self.end(target, asked.run)
        assert (status.phase, status.exit_code) == (RunPhase.FAILED, 3)
        assert "3" in status.reason

    def test_the_end_is_told_the_same_way_each_time(self, target: Target, launch: MakeLaunch) -> None:
        asked = launch("exit 3")
        target.start(asked)
        assert self.end(target, asked.run) == target.status(asked.run) == target.status(asked.run)

    def test_a_program_that_is_not_there_fails(self, target: Target, launch: MakeLaunch) -> None:
        asked = launch("exit 0", entry_point=("no-such-program", "--at-all"))
        try:
            target.start(asked)
        except Permanent:  # some backends know before the run is there
            return
        assert self.end(target, asked.run).phase is RunPhase.FAILED

    def test_starting_twice_starts_one(self, target: Target, launch: MakeLaunch, stopper: list[RunRef]) -> None:
        asked = launch(LONG)
        stopper.append(asked.run)
        target.start(asked)
        assert target.start(asked).phase in {RunPhase.STARTING, RunPhase.RUNNING}
        eventually(lambda: list(target.logs(asked.run)), within=self.within)
        assert list(target.logs(asked.run)) == ["begun"]

    def test_starting_a_run_that_is_over_tells_its_end(self, target: Target, launch: MakeLaunch) -> None:
        asked = launch("echo once; exit 4")
        target.start(asked)
        end = self.end(target, asked.run)
        assert target.start(asked) == end
        assert list(target.logs(asked.run)) == ["once"]

    def test_the_next_attempt_is_another_run(self, target: Target, launch: MakeLaunch) -> None:
        first = launch("exit 5")
        second = launch("exit 0", run=RunRef(first.run.item_id, 2))
        target.start(first)
        target.start(second)
        assert self.end(target, first.run).phase is RunPhase.FAILED
        assert self.end(target, second.run).phase is RunPhase.FINISHED

    def test_a_stopped_run_ends_as_stopped(self, target: Target, launch: MakeLaunch) -> None:
        asked = launch(LONG)
        target.start(asked)
        eventually(lambda: target.status(asked.run).phase is RunPhase.RUNNING, within=self.within)
        target.stop(asked.run)
        target.stop(asked.run)
        self.stopped(target, asked.run)
        assert target.status(asked.run).phase is self.after_a_stop

    def test_stopping_an_absent_run_is_fine(self, target: Target) -> None:
        target.stop(RunRef("nobody", 1))
        assert target.status(RunRef("nobody", 1)).phase is RunPhase.ABSENT

    def test_stopping_a_run_that_is_over_changes_nothing(self, target: Target, launch: MakeLaunch) -> None:
        asked = launch("exit 0")
        target.start(asked)
        end = self.end(target, asked.run)
        target.stop(asked.run)
        assert target.status(asked.run) == end

    def test_logs_hold_the_lines_of_the_run_in_order(self, target: Target, launch: MakeLaunch) -> None:
        asked = launch("echo first; echo; echo 'third: größer, 大きい'")
        target.start(asked)
        self.end(target, asked.run)
        assert list(target.logs(asked.run)) == list(self.lines_kept)

    def test_followed_logs_end_with_the_run(self, target: Target, launch: MakeLaunch) -> None:
        asked = launch("echo first; sleep 0.3; echo second")
        target.start(asked)
        assert list(target.logs(asked.run, follow=True)) == ["first", "second"]
        self.end(target, asked.run)

    def test_followed_logs_come_while_the_run_goes_on(
        self, target: Target, launch: MakeLaunch, stopper: list[RunRef]
    ) -> None:
        asked = launch(LONG)
        stopper.append(asked.run)
        target.start(asked)
        assert next(iter(target.logs(asked.run, follow=True))) == "begun"
        assert target.status(asked.run).phase is RunPhase.RUNNING

    def test_the_environment_reaches_the_run(self, target: Target, launch: MakeLaunch) -> None:
        plain = launch(
            'echo "$WANDB_RUN_ID"; echo "$SLIPWAY_ITEM"; echo "$ODD"; test ! -d "$SLIPWAY_OUTPUT_DIR"; echo $?'
        )
        asked = replace(plain, env={**plain.env, "ODD": "two\nlines = 'é' \"$HOME\""})
        target.start(asked)
        self.end(target, asked.run)
        lines = [
            asked.env["WANDB_RUN_ID"],
            asked.run.item_id,
            "two",
            "lines = 'é' \"$HOME\"",
            str(int(self.output_folder)),
        ]
        assert list(target.logs(asked.run)) == lines

    def test_another_instance_sees_the_run(
        self, target: Target, fresh_target: Target, launch: MakeLaunch, stopper: list[RunRef]
    ) -> None:
        asked = launch(LONG)
        stopper.append(asked.run)
        target.start(asked)
        eventually(lambda: list(fresh_target.logs(asked.run)), within=self.within)
        assert fresh_target.status(asked.run).phase is RunPhase.RUNNING
        assert fresh_target.start(asked).phase is RunPhase.RUNNING
        assert list(fresh_target.logs(asked.run)) == ["begun"]

    def test_another_instance_tells_how_it_ended(
        self, target: Target, fresh_target: Target, launch: MakeLaunch
    ) -> None:
        asked = launch("exit 6")
        target.start(asked)
        assert self.end(fresh_target, asked.run).exit_code == 6


class OwnMachineContract(TargetContract):
    """Where Slipway starts a run's process itself, it knows more of it than a cloud tells, and can hand it more.

    It reads the metrics file, knows which words of a failure are secret, and puts the values of secrets into the
    process."""

    runs_here: bool = True
    """Whether the runs' processes are in this machine's process list, so that a secret could be seen there."""

    def test_a_program_that_is_not_there_fails_and_is_named(self, target: Target, launch: MakeLaunch) -> None:
        asked = launch("exit 0", entry_point=("no-such-program", "--at-all"))
        try:
            target.start(asked)
        except Permanent as refusal:  # some backends know before the run is there
            reason = refusal.message
        else:
            status = self.end(target, asked.run)
            assert status.phase is RunPhase.FAILED
            reason = status.reason
        assert "no-such-program" in reason

    def test_metrics_are_kept(self, target: Target, launch: MakeLaunch) -> None:
        asked = launch("""echo '{"accuracy": 0.97, "epochs": [1, 2]}' > "$SLIPWAY_OUTPUT_DIR/metrics.json" """)
        target.start(asked)
        status = self.end(target, asked.run)
        assert status.metrics == {"accuracy": 0.97, "epochs": [1, 2]}
        assert status.warnings == ()

    @pytest.mark.parametrize(
        "make", ["echo '[1]'", "echo '{'", "head -c 70000 /dev/zero"], ids=["no object", "no JSON", "too large"]
    )
    def test_metrics_that_break_a_rule_are_a_warning(self, target: Target, launch: MakeLaunch, make: str) -> None:
        asked = launch(f'{make} > "$SLIPWAY_OUTPUT_DIR/metrics.json"')
        target.start(asked)
        status = self.end(target, asked.run)
        assert (status.phase, status.metrics) == (RunPhase.FINISHED, {})
        assert "metrics.json" in "".join(status.warnings)

    def test_a_secret_reaches_the_run_and_stands_in_no_process_list(
        self, target: Target, launch: MakeLaunch, stopper: list[RunRef]
    ) -> None:
        asked = launch(
            'test "$TOKEN" = ' + _in_pieces(SECRET) + " && echo equal; exec sleep 300",
            secrets={"TOKEN": "SECRET_OF_TEST"},
        )
        stopper.append(asked.run)
        status = target.start(asked)
        assert eventually(lambda: list(target.logs(asked.run)), within=self.within) == ["equal"]
        if self.runs_here:
            assert SECRET not in _process_list()
        assert SECRET not in repr(status) + repr(target.status(asked.run))

    def test_the_reason_of_a_failure_keeps_the_secret(self, target: Target, launch: MakeLaunch) -> None:
        asked = launch('echo "cannot log in with $TOKEN"; exit 1', secrets={"TOKEN": "SECRET_OF_TEST"})
        target.start(asked)
        status = self.end(target, asked.run)
        assert status.phase is RunPhase.FAILED
        assert SECRET not in repr(status)


def _in_pieces(text: str) -> str:
    """A shell word that is `text` without containing it."""
    return f"'{text[:7]}''{text[7:]}'"


def _process_list() -> str:
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    assert any("sleep 300" in line for line in lines), "the list must show the run, else this shows nothing"
    return "\n".join(lines)
