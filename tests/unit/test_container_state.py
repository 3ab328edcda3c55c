"""What Docker's word for a container means for its run."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.adapters.local.container_state import container, run_status
from slipway.errors import Temporary
from slipway.model import RunPhase, RunStatus

WORDS = ["created", "running", "paused", "restarting", "removing", "exited", "dead"]
ALIVE = {RunPhase.STARTING, RunPhase.RUNNING}


def status(word: str, code: int = 0, *, stop: bool = False, oom: bool = False, error: str = "") -> RunStatus:
    state = {"Status": word, "ExitCode": code, "OOMKilled": oom, "Error": error}
    return run_status(container({"Id": "abc", "Config": {"Labels": None}, "State": state}), stop_asked=stop)


@pytest.mark.parametrize(
    ("word", "code", "error", "phase", "says"),
    [
        ("created", 0, "", RunPhase.STARTING, "not started yet"),
        ("created", 127, 'exec: "x": not found', RunPhase.FAILED, 'in the image.*Docker: exec: "x": not found'),
        ("created", 126, "permission denied", RunPhase.FAILED, "cannot be executed.*Docker: permission denied"),
        ("created", 128, "port is already allocated", RunPhase.FAILED, "Docker: port is already allocated"),
        ("running", 0, "", RunPhase.RUNNING, "^$"),
        ("paused", 0, "", RunPhase.RUNNING, "paused"),
        ("restarting", 1, "", RunPhase.RUNNING, "restarting"),
        ("removing", 0, "", RunPhase.RUNNING, "removing"),
        ("exited", 0, "", RunPhase.FINISHED, "^$"),
        ("exited", 3, "", RunPhase.FAILED, "^exit code 3$"),
        ("exited", 125, "", RunPhase.FAILED, "exit code 125: .*Docker failed"),
        ("exited", 126, "", RunPhase.FAILED, "exit code 126: .*cannot be executed"),
        ("exited", 127, "", RunPhase.FAILED, "exit code 127: .*not found"),
        ("exited", 137, "", RunPhase.FAILED, r"killed by SIGKILL \(exit code 137\)"),
        ("exited", 143, "", RunPhase.FAILED, "killed by SIGTERM"),
        ("exited", 160, "", RunPhase.FAILED, "killed by signal 32"),
        ("exited", 255, "", RunPhase.FAILED, "^exit code 255$"),
        ("exited", 0, "engine said no", RunPhase.FAILED, "engine said no"),
        ("dead", 0, "", RunPhase.FINISHED, "^$"),
        ("dead", 1, "", RunPhase.FAILED, "exit code 1"),
    ],
)  # fmt: skip
def test_each_word_has_a_meaning(word: str, code: int, error: str, phase: RunPhase, says: str) -> None:
    found = status(word, code, error=error)
    assert (found.phase, found.backend_id) == (phase, "abc")
    assert re.search(says, found.reason)


def test_running_out_of_memory_is_told_in_words() -> None:
    assert status("exited", 137, oom=True).reason.startswith("out of memory")


def test_a_job_that_survived_the_end_of_a_child_is_finished() -> None:
    assert status("exited", 0, oom=True).phase is RunPhase.FINISHED


@given(st.sampled_from(WORDS), st.integers(0, 255), st.booleans(), st.text(max_size=5))
def test_after_a_wish_to_stop_the_end_is_stopped(word: str, code: int, oom: bool, error: str) -> None:
    found = status(word, code, stop=True, oom=oom, error=error)
    assert found.phase in {*ALIVE, RunPhase.STOPPED}


@given(st.sampled_from(WORDS), st.integers(0, 255), st.booleans(), st.booleans(), st.text(max_size=5))
def test_what_is_over_has_an_exit_code_and_what_failed_a_reason(
    word: str, code: int, stop: bool, oom: bool, error: str
) -> None:
    found = status(word, code, stop=stop, oom=oom, error=error)
    assert (found.exit_code is None) == (found.phase in ALIVE)
    assert found.reason or found.phase in {RunPhase.RUNNING, RunPhase.FINISHED}


@given(st.text().filter(lambda word: word not in WORDS))
def test_a_word_that_docker_does_not_document_is_temporary(word: str) -> None:
    with pytest.raises(Temporary, match="does not document"):
        status(word)
