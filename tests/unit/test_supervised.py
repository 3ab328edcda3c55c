"""One command under a supervisor: started at most once, told of truly, stopped as a whole."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.conditions import eventually

from slipway.adapters.local import supervisor
from slipway.adapters.local.supervised import Phase, Supervised, _order
from slipway.errors import Permanent, Temporary

ENV = {"PATH": os.environ["PATH"]}
STARTER = """
import sys
from pathlib import Path
from slipway.adapters.local.supervised import Supervised
folder = Path(sys.argv[1])
print(Supervised(folder).start(["sh", "-c", sys.argv[2]], env={"PATH": "/usr/bin:/bin"}, cwd=Path("/")), flush=True)
"""
# Whatever a process can be given: no NUL, and nothing that UTF-8 cannot carry.
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
names = texts.filter(lambda name: name != "" and "=" not in name)


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Supervised]:
    """A command that is gone after the test."""
    one = Supervised(tmp_path / "one")
    yield one
    one.stop(grace=0.0)


def sh(command: Supervised, script: str) -> Supervised:
    assert command.start(["sh", "-c", script], env=ENV, cwd=Path("/"))
    return command


def ended(command: Supervised) -> list[str]:
    """Its lines, once it is over."""
    lines = list(command.logs(follow=True))
    assert command.status().phase is not Phase.RUNNING
    return lines


def record(command: Supervised) -> dict[str, list[int]]:
    return json.loads((command.folder / "started.json").read_text())


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


class TestStatus:
    def test_what_was_never_started_is_absent(self, command: Supervised) -> None:
        assert command.status().phase is Phase.ABSENT
        assert list(command.logs(follow=True)) == []
        assert (command.tail(), command.label(), command.pidfd()) == ("", "", None)

    def test_a_command_runs_until_it_exits_with_its_code(self, command: Supervised) -> None:
        sh(command, "read line < /dev/null; exec sleep 300")
        running = command.status()
        assert (running.phase, running.exit_code, running.ended_at) == (Phase.RUNNING, None, None)
        command.stop()
        ended(command)
        over = command.status()
        assert (over.phase, over.exit_code) == (Phase.EXITED, -signal.SIGTERM)
        assert over.started_at == running.started_at
        assert over.started_at is not None
        assert over.ended_at is not None
        assert over.ended_at >= over.started_at

    @pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 255", 255), ("kill -9 $$", -9)])
    def test_the_exit_code_is_kept(self, command: Supervised, script: str, code: int) -> None:
        ended(sh(command, script))
        assert command.status().exit_code == code

    @pytest.mark.parametrize(
        ("program", "code", "words"),
        [("no-such-program", 127, "No such file"), ("/etc/passwd", 126, "Permission denied"), ("/", 126, "'/'")],
    )
    def test_a_program_that_cannot_be_run_exits_as_in_a_shell(
        self, command: Supervised, program: str, code: int, words: str
    ) -> None:
        assert command.start([program], env=ENV, cwd=Path("/"))
        (line,) = ended(command)
        assert command.status().exit_code == code
        assert program in line
        assert words in line

    def test_a_folder_that_is_not_there_is_named(self, command: Supervised) -> None:
        assert command.start(["true"], env=ENV, cwd=Path("/not/there"))
        assert "/not/there" in ended(command)[0]
        assert command.status().exit_code == 126

    def test_a_killed_supervisor_does_not_end_the_command(self, command: Supervised) -> None:
        sh(command, "exec sleep 300")
        os.kill(record(command)["supervisor"][0], signal.SIGKILL)
        eventually(lambda: gone(record(command)["supervisor"][0]))
        assert command.status().phase is Phase.RUNNING
        command.stop()
        ended(command)
        assert command.status().phase is Phase.LOST
        assert gone(record(command)["job"][0])

    @pytest.mark.parametrize("change", [{"boot": "another"}, {"supervisor": [os.getpid(), 1], "job": [os.getpid(), 1]}])
    def test_a_recycled_pid_is_no_sign_of_life(self, command: Supervised, change: dict[str, object]) -> None:
        sh(command, "exec sleep 300")
        before = record(command)
        (command.folder / "started.json").write_text(json.dumps({**before, **change}))
        status, process = command.status(), command.pidfd()
        command.stop()
        (command.folder / "started.json").write_text(json.dumps(before))
        assert status.phase is Phase.LOST
        assert process is None
        assert command.status().phase is Phase.RUNNING, "a stranger's process was signalled"


class TestAtMostOnce:
    def test_the_second_start_does_nothing(self, command: Supervised) -> None:
        sh(command, "echo once")
        assert not command.start(["echo", "twice"], env=ENV, cwd=Path("/"))
        assert ended(command) == ["once"]
        assert not command.start(["echo", "thrice"], env=ENV, cwd=Path("/"))
        assert list(command.logs()) == ["once"]

    def test_racing_threads_start_one(self, command: Supervised) -> None:
        with ThreadPoolExecutor(6) as pool:
            starts = [pool.submit(command.start, ["echo", "once"], env=ENV, cwd=Path("/")) for _ in range(12)]
        assert sorted(start.result() for start in starts) == [False] * 11 + [True]
        assert ended(command) == ["once"]

    def test_racing_processes_start_one(self, command: Supervised) -> None:
        starters = [starter(command, "echo once") for _ in range(4)]
        answers = [process.communicate(timeout=60)[0].strip() for process in starters]
        assert sorted(answers) == [b"False"] * 3 + [b"True"]
        assert ended(command) == ["once"]

    @pytest.mark.parametrize("patience", [0.0, 0.04, 0.06, 0.08, 0.09, 0.1, 0.11, 0.12, 0.14, 0.18])
    def test_a_starter_killed_at_any_moment_leaves_one_start_to_others(
        self, command: Supervised, patience: float
    ) -> None:
        killed = starter(command, "echo once; sleep 0.2")
        with suppress(subprocess.TimeoutExpired):
            killed.wait(patience)
        killed.kill()
        killed.communicate()
        command.start(["sh", "-c", "echo once"], env=ENV, cwd=Path("/"))
        assert ended(command) == ["once"]
        assert command.status().exit_code == 0

    @given(cut=st.integers(0, 40))
    @settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_an_order_cut_short_claims_nothing(self, command: Supervised, cut: int) -> None:
        order = _order(["echo", "once"], ENV, Path("/"), "")[: -1 - cut]
        command.folder.mkdir(exist_ok=True)
        subprocess.run([sys.executable, "-I", "-S", supervisor.__file__, str(command.folder)], input=order, check=True)
        assert list(command.folder.iterdir()) == []

    def test_slipway_killed_with_all_its_processes_ends_no_command(self, command: Supervised) -> None:
        process = starter(command, "exec sleep 300", start_new_session=True)
        assert process.stdout is not None
        assert process.stdout.readline() == b"True\n"
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert command.status().phase is Phase.RUNNING


class TestOrders:
    @given(argv=st.lists(texts, min_size=1, max_size=4), env=st.dictionaries(names, texts, max_size=4), label=texts)
    def test_an_order_is_read_as_it_was_written(self, argv: list[str], env: dict[str, str], label: str) -> None:
        read = supervisor.order(_order(["sh", *argv], env, Path("/somewhere"), label))
        assert read is not None
        assert (read.cwd.decode(), read.label.decode()) == ("/somewhere", label)
        assert [word.decode() for word in read.argv] == ["sh", *argv]
        assert {name.decode(): value.decode() for name, value in read.env.items()} == env

    @given(argv=st.lists(texts, max_size=3), env=st.dictionaries(names, texts, max_size=3), data=st.data())
    def test_a_part_of_an_order_is_no_order(self, argv: list[str], env: dict[str, str], data: st.DataObject) -> None:
        order = _order(["sh", *argv], env, Path("/"), "")
        assert supervisor.order(order[: data.draw(st.integers(0, len(order) - 1))]) is None

    @given(env=st.dictionaries(names, texts, max_size=5))
    @example(env={"TWO": "lines\nof = 'it'", "EMPTY": "", "Ä": "größer"})
    @settings(max_examples=10, deadline=None)
    def test_the_command_has_the_environment_and_no_more(
        self, tmp_path_factory: pytest.TempPathFactory, env: dict[str, str]
    ) -> None:
        command = Supervised(tmp_path_factory.mktemp("env") / "one")
        command.start(["/usr/bin/env", "-0"], env=env, cwd=Path("/"))
        ended(command)
        entries = (command.folder / "log").read_bytes().split(b"\0")[:-1]
        assert sorted(entries) == sorted(f"{name}={value}".encode() for name, value in env.items())

    @pytest.mark.parametrize(
        ("argv", "env"),
        [([], {}), ([""], {}), (["a\0b"], {}), (["a"], {"": "b"}), (["a"], {"B=C": "d"}), (["a"], {"B": "\0"})],
    )
    def test_what_no_command_line_can_carry_is_refused(
        self, command: Supervised, argv: list[str], env: dict[str, str]
    ) -> None:
        with pytest.raises(Permanent):
            command.start(argv, env=env, cwd=Path("/"))
        assert not command.folder.exists()

    def test_text_that_is_not_unicode_is_refused_without_being_shown(self, command: Supervised) -> None:
        with pytest.raises(Permanent) as caught:
            command.start(["a"], env={"KEY": "secret\ud800"}, cwd=Path("/"))
        assert "secret" not in str(caught.value)
        assert caught.value.__cause__ is None

    def test_too_many_words_for_the_system_are_an_exit_with_its_words(self, command: Supervised) -> None:
        assert command.start(["true"], env={**ENV, "BIG": "x" * 3_000_000}, cwd=Path("/"))
        assert "too long" in ended(command)[0]
        assert command.status().exit_code == 126

    def test_a_folder_that_cannot_be_made_is_temporary(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(Temporary, match="Not a directory"):
            Supervised(tmp_path / "file" / "one").start(["true"], env=ENV, cwd=Path("/"))

    def test_a_supervisor_that_fails_is_temporary_with_its_words(self, command: Supervised) -> None:
        (command.folder / "claim").mkdir(parents=True)
        with pytest.raises(Temporary, match="Is a directory"):
            command.start(["true"], env=ENV, cwd=Path("/"))
        assert command.status().phase is Phase.ABSENT


class TestStop:
    def test_stopping_what_is_absent_or_over_is_fine(self, command: Supervised) -> None:
        command.stop()
        assert command.status().phase is Phase.ABSENT
        ended(sh(command, "exit 7"))
        command.stop()
        assert command.status().exit_code == 7

    def test_a_command_may_clean_up_first(self, command: Supervised) -> None:
        sh(command, "trap 'echo bye; exit 5' TERM; echo ready; while :; do read x < /dev/zero & wait; done")
        eventually(lambda: list(command.logs()))
        command.stop(grace=60.0)
        assert ended(command)[-1] == "bye"
        assert command.status().exit_code == 5

    def test_one_that_does_not_listen_is_killed_after_its_grace(self, command: Supervised) -> None:
        sh(command, "trap '' TERM; echo ready; while :; do sleep 300; done")
        eventually(lambda: list(command.logs()))
        command.stop(grace=0.1)
        ended(command)
        assert command.status().exit_code == -signal.SIGKILL

    def test_a_second_stop_may_be_less_patient(self, command: Supervised) -> None:
        sh(command, "trap '' TERM; echo ready; while :; do sleep 300; done")
        eventually(lambda: list(command.logs()))
        command.stop(grace=3600.0)
        command.stop(grace=0.0)
        ended(command)
        assert command.status().exit_code == -signal.SIGKILL

    def test_its_children_are_stopped_with_it(self, command: Supervised) -> None:
        sh(command, "sleep 300 & echo $!; wait")
        (child,) = eventually(lambda: list(command.logs()))
        command.stop()
        ended(command)
        assert eventually(lambda: gone(int(child)))

    def test_children_that_it_leaves_behind_end_with_it(self, command: Supervised) -> None:
        (child,) = ended(sh(command, "sleep 300 & echo $!"))
        assert command.status().exit_code == 0
        assert eventually(lambda: gone(int(child)))


class TestLogs:
    @given(content=st.binary(max_size=200) | st.text(max_size=50).map(lambda text: text.encode(errors="replace")))
    @example(content=b"a\r\nb\n\nlast \xff")
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_lines_are_what_lies_between_line_ends(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "log").write_bytes(content)
        lines = content.removesuffix(b"\n").split(b"\n") if content else []
        expected = [line.decode(errors="replace").removesuffix("\r") for line in lines]
        assert list(Supervised(tmp_path).logs()) == expected
        assert list(Supervised(tmp_path).logs(follow=True)) == expected

    @given(
        lines=st.lists(st.text(st.characters(categories=["L", "N"]), max_size=10), max_size=8), last=st.integers(0, 9)
    )
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_the_tail_is_the_last_lines(self, tmp_path: Path, lines: list[str], last: int) -> None:
        (tmp_path / "log").write_text("".join(f"{line}\n" for line in lines))
        assert Supervised(tmp_path).tail(last) == "\n".join(lines[len(lines) - min(last, len(lines)) :])

    def test_a_line_without_end_is_kept_back_while_the_command_runs(self, command: Supervised) -> None:
        sh(command, "echo whole; printf half; exec sleep 300")
        eventually(lambda: (command.folder / "log").read_bytes() == b"whole\nhalf")
        assert list(command.logs()) == ["whole"]
        command.stop()
        assert ended(command) == ["whole", "half"]

    def test_both_streams_are_in_it(self, command: Supervised) -> None:
        assert ended(sh(command, "echo out; echo err >&2")) == ["out", "err"]

    def test_a_line_that_never_ends_does_not_fill_the_memory(self, command: Supervised) -> None:
        lines = ended(sh(command, "head -c 3000000 /dev/zero"))
        assert sum(map(len, lines)) == 3_000_000
        assert max(map(len, lines)) < 1_200_000


class TestHouseKeeping:
    def test_others_can_read_nothing_of_it(self, command: Supervised) -> None:
        sh(command, "exec sleep 300")
        command.stop()
        ended(command)
        assert stat.S_IMODE(command.folder.stat().st_mode) == 0o700
        files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in command.folder.iterdir()}
        assert files == dict.fromkeys(["claim", "started.json", "ended.json", "label", "log", "stop"], 0o600)

    def test_the_command_has_the_umask_and_the_signals_of_the_starter(self, command: Supervised) -> None:
        show = "umask; grep -E '^Sig(Blk|Ign)' /proc/self/status"
        mine = subprocess.run(["sh", "-c", show], capture_output=True, text=True, check=True)
        assert ended(sh(command, show)) == mine.stdout.splitlines()

    def test_the_command_inherits_no_file(self, command: Supervised) -> None:
        assert ended(sh(command, "cd /proc/self/fd; echo *")) in (["0 1 2"], ["0 1 2 3"])  # 3 is the shell's own look

    def test_the_label_is_the_winners(self, command: Supervised) -> None:
        command.start(["true"], env=ENV, cwd=Path("/"), label="item:größer")
        command.start(["true"], env=ENV, cwd=Path("/"), label="item:other")
        assert command.label() == "item:größer"

    def test_a_relative_folder_means_the_same_later(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        command = Supervised(Path("here"))
        monkeypatch.chdir("/")
        assert ended(sh(command, "echo done")) == ["done"]
        assert (tmp_path / "here" / "ended.json").exists()

    def test_no_zombie_is_left(self, command: Supervised) -> None:
        ended(sh(command, "true"))
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        assert str(record(command)["supervisor"][0]) not in children


def starter(command: Supervised, script: str, **how: bool) -> subprocess.Popen[bytes]:
    """Another process of Slipway that starts the command."""
    return subprocess.Popen([sys.executable, "-c", STARTER, str(command.folder), script], stdout=subprocess.PIPE, **how)
