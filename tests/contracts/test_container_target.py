"""Runs as Docker containers: the target contract, and what is particular to them."""

from __future__ import annotations

import fcntl
import json
import threading
import uuid
from pathlib import Path

import pytest
from tests.conditions import eventually
from tests.contracts.container_fixtures import MACHINE, ContainerFixtures
from tests.contracts.target_contract import LONG, OVER, SECRET, MakeLaunch, OwnMachineContract, TargetContract
from tests.docker_engine import containers, docker
from tests.services import BASE_IMAGE

from slipway.adapters.local.container import ContainerTarget
from slipway.adapters.local.secrets import LocalSecrets
from slipway.errors import AlreadyExists, Invalid, Permanent, Temporary
from slipway.model import Launch, RunPhase, RunRef, RunStatus

pytestmark = pytest.mark.docker


class TestContainerTarget(ContainerFixtures, OwnMachineContract, TargetContract):
    """S1, S19: the resource `local-container`."""

    within = 60.0


class TestWhatIsParticular(ContainerFixtures):
    def ended(self, target: ContainerTarget, launch: Launch) -> RunStatus:
        target.start(launch)

        def over() -> RunStatus | None:
            status = target.status(launch.run)
            return status if status.phase in OVER else None

        status = eventually(over, within=60.0)
        assert status is not None
        return status

    def lines(self, target: ContainerTarget, launch: Launch) -> list[str]:
        self.ended(target, launch)
        return list(target.logs(launch.run))

    def test_a_run_that_is_over_leaves_no_container_and_stays_known(
        self, target: ContainerTarget, fresh_target: ContainerTarget, launch: MakeLaunch
    ) -> None:
        asked = launch("echo once; exit 3")
        ended = self.ended(target, asked)
        assert containers(asked.run.item_id) == []
        assert fresh_target.status(asked.run) == ended
        assert fresh_target.start(asked) == ended
        assert list(fresh_target.logs(asked.run)) == ["once"]
        assert containers(asked.run.item_id) == []

    def test_many_who_look_at_the_end_see_the_same_and_nobody_sees_an_absent_run(
        self, target: ContainerTarget, fresh_target: ContainerTarget, launch: MakeLaunch
    ) -> None:
        asked = launch("sleep 1; for i in 1 2 3 4 5 6 7 8 9; do echo line $i; done; exit 3")
        target.start(asked)
        docker("wait", asked.run.name)
        together = threading.Barrier(6)
        seen: list[RunStatus] = []

        def look(which: ContainerTarget) -> None:
            together.wait()
            seen.append(which.status(asked.run))

        lookers = [threading.Thread(target=look, args=[which]) for which in (target, fresh_target) * 3]
        for looker in lookers:
            looker.start()
        for looker in lookers:
            looker.join()
        assert len(seen) == 6
        assert {(status.phase, status.reason) for status in seen} == {(RunPhase.FAILED, "exit code 3: line 8 | line 9")}
        assert len(list(target.logs(asked.run))) == 9

    def test_racing_starters_start_one(
        self, target: ContainerTarget, fresh_target: ContainerTarget, launch: MakeLaunch
    ) -> None:
        asked = launch("echo run >> $SLIPWAY_OUTPUT_DIR/times")
        together = threading.Barrier(6)
        phases: list[RunPhase] = []

        def start(which: ContainerTarget) -> None:
            together.wait()
            phases.append(which.start(asked).phase)

        starters = [threading.Thread(target=start, args=[which]) for which in (target, fresh_target) * 3]
        for starter in starters:
            starter.start()
        for starter in starters:
            starter.join()
        assert len(phases) == 6
        assert self.ended(target, asked).phase is RunPhase.FINISHED
        assert self.output(target, asked, "times") == "run\n"

    def output(self, target: ContainerTarget, launch: Launch, name: str) -> str:
        return (target._runs / launch.run.name / "output" / name).read_text()

    def test_a_container_that_was_created_and_never_started_is_started(
        self, target: ContainerTarget, launch: MakeLaunch
    ) -> None:
        asked = launch("echo begun")
        self.created(asked)
        assert target.status(asked.run).phase is RunPhase.ABSENT
        assert self.lines(target, asked) == ["begun"]

    def test_a_container_that_is_about_to_be_started_by_another_is_starting(
        self, target: ContainerTarget, launch: MakeLaunch, home: Path
    ) -> None:
        asked = launch("echo begun")
        self.created(asked)
        folder = home / "runs" / asked.run.name
        folder.mkdir(parents=True)
        with (folder / "start.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            assert target.status(asked.run).phase is RunPhase.STARTING

    def created(self, launch: Launch, *labels: str) -> None:
        ours = labels or (f"slipway.item={launch.run.item_id}", f"slipway.attempt={launch.run.attempt}")
        docker(
            "create", "--name", launch.run.name, *(f"--label={label}" for label in ours), launch.image, *launch.command
        )

    @pytest.mark.parametrize("label", ["slipway.item=another", "slipway.attempt=1", "team=a"])
    def test_a_container_that_is_not_ours_is_refused_and_left_alone(
        self, target: ContainerTarget, launch: MakeLaunch, label: str
    ) -> None:
        asked = launch("exit 0")
        self.created(asked, label)
        try:
            with pytest.raises(AlreadyExists, match=f"docker rm {asked.run.name}"):
                target.start(asked)
            assert target.status(asked.run).phase is RunPhase.ABSENT
            assert list(target.logs(asked.run)) == []
            target.stop(asked.run)
            assert docker("inspect", "--format", "{{.State.Status}}", asked.run.name) == "created"
        finally:
            docker("rm", asked.run.name)

    def test_a_container_that_someone_removed_is_absent(self, target: ContainerTarget, launch: MakeLaunch) -> None:
        asked = launch(LONG)
        target.start(asked)
        docker("rm", "--force", asked.run.name)
        assert target.status(asked.run).phase is RunPhase.ABSENT

    def test_a_secret_is_neither_in_an_argument_nor_on_the_disk_nor_in_the_reason(
        self, target: ContainerTarget, launch: MakeLaunch, home: Path
    ) -> None:
        asked = launch(
            'test "$KEY" = "$PLAIN" && echo same', secrets={"KEY": "LONG_SECRET"}, env={"PLAIN": MACHINE["LONG_SECRET"]}
        )
        assert self.lines(target, asked) == ["same"]
        told = launch("exec sleep 300", secrets={"KEY": "SECRET_OF_TEST"})
        target.start(told)
        for path in home.rglob("*"):
            assert not path.is_file() or SECRET not in path.read_text()
        target.stop(told.run)

    def test_a_secret_that_is_set_nowhere_is_left_out(self, target: ContainerTarget, launch: MakeLaunch) -> None:
        asked = launch('echo "${WANDB_API_KEY-unset}"', secrets={"WANDB_API_KEY": "WANDB_API_KEY"})
        assert self.lines(target, asked) == ["unset"]

    def test_the_queue_sets_variables_and_passes_on_the_machines(
        self, target: ContainerTarget, launch: MakeLaunch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """S19."""
        monkeypatch.setenv("MINE_OF_TEST", "of the\nmachine")
        monkeypatch.delenv("NOWHERE_OF_TEST", raising=False)
        env = ["A=1", "MINE_OF_TEST", "NOWHERE_OF_TEST", "WANDB_RUN_ID=forged"]
        asked = launch('echo "$A $MINE_OF_TEST ${NOWHERE_OF_TEST-unset} $WANDB_RUN_ID"', resource_args={"env": env})
        assert self.lines(target, asked) == ["1 of the", f"machine unset {asked.run_id}"]

    def test_the_options_of_the_queue_are_options_of_docker(
        self, target: ContainerTarget, launch: MakeLaunch, home: Path
    ) -> None:
        """S19: `volume` is a list, `true` is a flag, a letter is an option."""
        (home / "shared").mkdir(parents=True)
        (home / "shared" / "hello").write_text("hello\n")
        mounted = home.parent / "mounted"
        mounted.symlink_to(home / "shared")
        args = {
            "volume": [f"{mounted}:/a:ro", f"{mounted}:/b:ro"],
            "read-only": True,
            "tty": False,
            "w": "/a",
            "init": "true",
        }
        asked = launch("pwd; cat hello /b/hello; touch /x || echo refused", resource_args=args)
        assert [line for line in self.lines(target, asked) if "touch" not in line] == [
            "/a",
            "hello",
            "hello",
            "refused",
        ]

    def test_any_user_of_the_image_may_write_the_output_and_no_other_of_the_host(
        self, target: ContainerTarget, launch: MakeLaunch, home: Path
    ) -> None:
        made = """echo '{"uid": '$(id -u)'}' > $SLIPWAY_OUTPUT_DIR/metrics.json"""
        status = self.ended(target, launch(made, resource_args={"user": "1234:1234"}))
        assert status.metrics == {"uid": 1234}
        assert all(run.stat().st_mode & 0o777 == 0o700 for run in (home / "runs").iterdir())

    def test_metrics_that_are_a_link_are_not_read_from_the_host(
        self, target: ContainerTarget, launch: MakeLaunch, tmp_path: Path
    ) -> None:
        (tmp_path / "of-the-host.json").write_text('{"password": "x"}')
        status = self.ended(target, launch(f"ln -s {tmp_path}/of-the-host.json $SLIPWAY_OUTPUT_DIR/metrics.json"))
        assert (status.metrics, status.warnings) == ({}, ("metrics.json is not kept: it is a link",))

    def test_without_an_entry_point_the_images_own_gets_the_arguments(
        self, target: ContainerTarget, launch: MakeLaunch
    ) -> None:
        image = f"slipway-test/entry-{uuid.uuid4().hex[:8]}"
        base = docker("create", BASE_IMAGE)
        docker(
            "commit",
            "--change",
            'ENTRYPOINT ["sh", "-c", "echo own \\"$@\\"", "own"]',
            "--change",
            "CMD []",
            base,
            image,
        )
        try:
            words = ("--lr", "0.1 2")
            assert self.lines(target, launch("", image=image, entry_point=(), args=words)) == ["own --lr 0.1 2"]
            assert self.lines(target, launch("", image=image, entry_point=())) == ["own"]
            mine = ("sh", "-c", 'echo mine "$@"', "sh")
            assert self.lines(target, launch("", image=image, entry_point=mine, args=words)) == ["mine --lr 0.1 2"]
        finally:
            docker("rm", base)
            docker("image", "rm", image)

    def test_an_image_job_uses_what_is_here_when_it_cannot_be_pulled_and_says_so(
        self, target: ContainerTarget, launch: MakeLaunch
    ) -> None:
        asked = launch("exec sleep 300", env={"WANDB_DOCKER": BASE_IMAGE})
        status = target.start(asked)
        assert status.phase is RunPhase.RUNNING
        assert "the image on this machine is used as it is: docker pull: " in "".join(status.warnings)
        target.stop(asked.run)

    def test_a_queue_that_sets_pull_is_left_to_docker(self, target: ContainerTarget, launch: MakeLaunch) -> None:
        asked = launch("exec sleep 300", env={"WANDB_DOCKER": BASE_IMAGE}, resource_args={"pull": "never"})
        assert target.start(asked).warnings == ()
        target.stop(asked.run)

    @pytest.mark.parametrize("env", [{}, {"WANDB_DOCKER": "127.0.0.1:9/nobody/nothing:1"}], ids=["built", "image job"])
    def test_an_image_whose_registry_cannot_be_reached_is_tried_again(
        self, target: ContainerTarget, launch: MakeLaunch, env: dict[str, str]
    ) -> None:
        asked = launch("exit 0", image="127.0.0.1:9/nobody/nothing:1", env=env)
        with pytest.raises(Temporary, match="connection refused"):
            target.start(asked)
        assert target.status(asked.run).phase is RunPhase.ABSENT
        assert containers(asked.run.item_id) == []

    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            ({"resource_args": {"no-such-option": "1"}}, "unknown flag: --no-such-option"),
            ({"resource_args": {"memory": "1b"}}, "(?i)minimum memory"),
            ({"image": "Upper/CASE"}, "repository name must be lowercase|invalid reference format"),
            ({"env": {"BIG": "x" * 200_000}}, "longer than Linux allows"),
            ({"env": {"BROKEN": "\ud800"}}, "broken Unicode"),
        ],
    )
    def test_what_docker_refuses_is_permanent_and_in_dockers_words(
        self, target: ContainerTarget, launch: MakeLaunch, changes: dict[str, object], says: str
    ) -> None:
        asked = launch("exit 0", **changes)
        with pytest.raises(Permanent, match=says):
            target.start(asked)
        assert containers(asked.run.item_id) == []

    def test_a_config_that_is_wrong_is_refused_before_anything_is_made(
        self, target: ContainerTarget, launch: MakeLaunch, home: Path
    ) -> None:
        with pytest.raises(Invalid, match=r"resource_args\.cidfile"):
            target.start(launch("exit 0", resource_args={"cidfile": "mine"}))
        assert not (home / "runs").exists()

    def test_without_an_engine_everything_is_temporary_and_names_the_cure(
        self, target: ContainerTarget, launch: MakeLaunch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        asked = launch("exit 0")
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
        for ask in (
            lambda: target.start(asked),
            lambda: target.status(asked.run),
            lambda: target.stop(asked.run),
            lambda: list(target.logs(asked.run)),
        ):
            with pytest.raises(Temporary, match="make services"):
                ask()

    def test_the_end_of_a_run_is_known_without_an_engine(
        self, target: ContainerTarget, launch: MakeLaunch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        asked = launch("echo said; exit 3")
        ended = self.ended(target, asked)
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
        assert target.status(asked.run) == ended
        assert list(target.logs(asked.run)) == ["said"]

    def test_a_run_that_ends_well_although_it_was_asked_to_stop_is_stopped(
        self, target: ContainerTarget, launch: MakeLaunch
    ) -> None:
        asked = launch("trap 'echo asked; exit 0' TERM; echo begun; while :; do sleep 0.05; done")
        target.start(asked)
        eventually(lambda: list(target.logs(asked.run)))
        target.stop(asked.run)
        assert list(target.logs(asked.run, follow=True)) == ["begun", "asked"]
        assert eventually(lambda: target.status(asked.run).phase in OVER)
        assert target.status(asked.run).phase is RunPhase.STOPPED

    def test_a_signal_is_named_in_the_reason(self, target: ContainerTarget, launch: MakeLaunch) -> None:
        asked = launch(LONG)
        target.start(asked)
        docker("kill", "--signal", "KILL", asked.run.name)
        assert eventually(lambda: target.status(asked.run).phase is RunPhase.FAILED)
        assert target.status(asked.run).reason.startswith("killed by SIGKILL (exit code 137)")

    def test_a_run_out_of_memory_says_so(self, target: ContainerTarget, launch: MakeLaunch) -> None:
        args = {"memory": "16m", "memory-swap": "16m", "network": "none"}
        asked = launch("", entry_point=("python3", "-c", "x = bytearray(200_000_000)"), resource_args=args)
        assert self.ended(target, asked).reason.startswith("out of memory")

    def test_a_log_that_docker_does_not_keep_is_no_obstacle(self, target: ContainerTarget, launch: MakeLaunch) -> None:
        asked = launch("echo lost", resource_args={"log-driver": "none"})
        assert self.ended(target, asked).phase is RunPhase.FINISHED
        assert "does not support reading" in "".join(target.logs(asked.run))

    def test_lines_that_look_like_dockers_own_complaints_are_lines_of_the_run(
        self, target: ContainerTarget, launch: MakeLaunch
    ) -> None:
        said = ["Error response from daemon: no such container", "then", "Cannot connect to the Docker daemon"]
        asked = launch("".join(f"echo '{line}';" for line in said))
        target.start(asked)
        assert list(target.logs(asked.run, follow=True)) == said
        assert self.lines(target, asked) == said

    def test_followed_logs_are_whole_although_the_container_is_removed_meanwhile(
        self, target: ContainerTarget, fresh_target: ContainerTarget, launch: MakeLaunch
    ) -> None:
        asked = launch("echo 0; sleep 0.2; i=1; while [ $i -lt 2000 ]; do echo $i; i=$((i+1)); done")
        target.start(asked)
        follower = target.logs(asked.run, follow=True)
        seen = [next(follower)]
        assert eventually(lambda: fresh_target.status(asked.run).phase is RunPhase.FINISHED)
        seen += follower
        assert seen == [str(number) for number in range(2000)]

    def test_a_broken_record_of_the_end_is_not_taken_for_an_absent_run(
        self, target: ContainerTarget, launch: MakeLaunch, home: Path
    ) -> None:
        asked = launch("exit 0")
        folder = home / "runs" / asked.run.name
        folder.mkdir(parents=True)
        (folder / "ended.json").write_text("{")
        with pytest.raises(Temporary, match=r"ended\.json"):
            target.status(asked.run)


def test_the_record_of_an_end_is_the_status_as_json(tmp_path: Path) -> None:
    """A folder that an earlier version of Slipway left can be read."""
    home = tmp_path
    folder = home / "runs" / "slipway-x-1"
    folder.mkdir(parents=True)
    kept = {
        "phase": "failed",
        "reason": "exit code 3",
        "backend_id": "abc",
        "exit_code": 3,
        "metrics": {"a": 1},
        "warnings": ["w"],
    }
    (folder / "ended.json").write_text(json.dumps(kept))
    status = ContainerTarget(home, LocalSecrets(home, {})).status(RunRef("x", 1))
    assert status == RunStatus(RunPhase.FAILED, "exit code 3", "abc", 3, {"a": 1}, ("w",))
