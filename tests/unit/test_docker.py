"""Docker has only words for what went wrong. Which of Slipway's errors they become, and with which cure."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.adapters.local import docker
from slipway.errors import AlreadyExists, Forbidden, NotFound, Permanent, Refused, SlipwayError, Temporary

# As the docker command printed them: clients 20.10 and 28, engine 20.10.
SAID = [
    ("Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?", Refused, "make services"),
    ("failed to connect to the docker API at unix:///x; check if the path is correct", Refused, "make services"),
    ("permission denied while trying to connect to the Docker daemon socket at unix:///x", Forbidden, "`docker` group"),
    ("Error response from daemon: write /var/lib/docker/x: no space left on device", Refused, "docker system prune"),
    ('docker: Error response from daemon: Conflict. The container name "/a" is already in use by container "b". You '
     "have to remove (or rename) that container to be able to reuse that name.", AlreadyExists, ""),
    ("Error: No such container: a", NotFound, ""),
    ("Error: No such object: a", NotFound, ""),
    ("Error: No such image: a:1", NotFound, ""),
    ("Error response from daemon: can not get logs from container which is dead or marked for removal", NotFound, ""),
    ('Error response from daemon: Get "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io on '
     "10.0.0.1:53: no such host", Temporary, ""),
    ('Get "http://127.0.0.1:9/v2/": dial tcp 127.0.0.1:9: connect: connection refused', Temporary, ""),
    ("toomanyrequests: You have reached your pull rate limit.", Temporary, ""),
    ("received unexpected HTTP status: 503 Service Unavailable", Temporary, ""),
    ("pull access denied for a, repository does not exist or may require 'docker login': denied: requested access to "
     "the resource is denied", Forbidden, "docker login"),
    ("unauthorized: authentication required", Forbidden, "docker login"),
    ("no basic auth credentials", Forbidden, "docker login"),
    ("manifest for a:1 not found: manifest unknown: manifest unknown", NotFound, "name and tag"),
    ("no matching manifest for linux/arm64/v8 in the manifest list entries", NotFound, "name and tag"),
    ("docker: invalid reference format", Permanent, ""),
    ("docker: unknown flag: --bogus\n\nUsage:  docker run [OPTIONS] IMAGE\n\nRun 'docker run --help' for more",
     Permanent, ""),
]  # fmt: skip


@pytest.mark.parametrize(("words", "kind", "cure"), SAID)
def test_dockers_words_become_an_error_that_keeps_them(words: str, kind: type[SlipwayError], cure: str) -> None:
    error = docker.failure("run", words, 125)
    assert type(error) is kind
    assert cure in error.message
    first = words.splitlines()[0].removeprefix("docker: ").rstrip(".")
    assert error.message.startswith(f"docker run: {first}")
    assert "--help" not in error.message


@given(st.text(), st.integers(1, 255))
def test_any_words_become_some_error(words: str, code: int) -> None:
    error = docker.failure("run", words, code)
    assert isinstance(error, Permanent | Temporary)
    assert error.message.startswith("docker run: ")
    assert len(error.message) > len("docker run: ")


def test_silence_is_told_with_the_exit_code() -> None:
    assert "exit code 125" in docker.failure("run", "", 125).message


def test_without_the_command_the_error_names_the_cure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Permanent, match="Install Docker"):
        docker.run("version")
    with pytest.raises(Permanent, match="Install Docker"):
        next(docker.lines("logs", "x"))


class TestWithACommandOfOurOwn:
    """`docker` here is a script on PATH, which plays what the engine of the day would rather not."""

    @pytest.fixture(autouse=True)
    def on_path(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        self.script = tmp_path / "docker"

    def plays(self, text: str) -> None:
        self.script.write_text(f"#!/bin/sh\n{text}\n")
        self.script.chmod(0o755)

    def test_what_it_prints_is_returned(self) -> None:
        self.plays('echo "$1" "$HIDDEN"; echo noise >&2')
        assert docker.run("hello", environment={"HIDDEN": "two\nlines"}) == "hello two\nlines\n"

    def test_a_command_that_never_answers_is_temporary(self) -> None:
        self.plays("exec sleep 300")
        with pytest.raises(Temporary, match=r"docker inspect: no answer within 0\.1 seconds"):
            docker.run("inspect", "x", timeout=0.1)

    def test_a_file_that_cannot_be_executed_is_temporary(self) -> None:
        self.script.write_text("#!/nowhere/at/all\n")
        self.script.chmod(0o755)
        with pytest.raises(Temporary, match="docker version: cannot be started"):
            docker.run("version")

    @pytest.mark.parametrize("argument", ["a\0b", "\ud800", "x" * 200_000], ids=["NUL", "surrogate", "long"])
    def test_what_no_program_can_be_given_is_permanent_and_is_not_repeated(self, argument: str) -> None:
        self.plays("exit 0")
        with pytest.raises(Permanent) as refused:
            docker.run("run", argument, environment={"TOKEN": "hunter2"})
        assert "hunter2" not in refused.value.message
        assert len(refused.value.message) < 400

    def test_lines_come_whole_in_pieces_of_a_mebibyte_and_without_their_ends(self) -> None:
        self.plays(r"printf 'a\r\n\nb\rc\n\377\n'; head -c 1500000 /dev/zero | tr '\0' x; echo; printf end")
        *lines, first, second, last = docker.lines("logs", "x")
        assert lines == ["a", "", "b\rc", "\ufffd"]
        assert (len(first), len(second), last) == (1 << 20, 1_500_000 - (1 << 20), "end")

    def test_a_complaint_at_the_end_of_a_failed_stream_is_an_error_and_no_line(self) -> None:
        self.plays("echo said; echo 'Error response from daemon: No such container: x'; exit 1")
        lines = docker.lines("logs", "x")
        assert next(lines) == "said"
        with pytest.raises(NotFound, match="No such container: x"):
            next(lines)

    def test_who_stops_reading_leaves_no_process_behind(self, tmp_path: Path) -> None:
        self.plays(f"echo $$ > {tmp_path}/pid; echo first; exec sleep 300")
        lines = docker.lines("logs", "--follow", "x")
        assert next(lines) == "first"
        lines.close()  # type: ignore[attr-defined]
        assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()

    def test_ending_a_stream_twice_is_ending_it_once(self) -> None:
        self.plays("exec sleep 300")
        process = docker.stream("events")
        docker.end(process)
        docker.end(process)
        assert process.returncode == -signal.SIGKILL
