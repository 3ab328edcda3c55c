"""The lock that outlives its holder in what the holder started, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.conditions import eventually

from slipway.adapters.local.lock import exclusive, is_held
from slipway.errors import Temporary

HOLDER = """
import subprocess, sys
from pathlib import Path
from slipway.adapters.local.lock import exclusive
with exclusive(Path(sys.argv[1])) as lock:
    print(subprocess.Popen(["sleep", "300"], pass_fds=[lock]).pid, flush=True)
    sys.stdin.read()
"""


def test_it_is_held_inside_and_free_outside(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "lock"
    assert not is_held(path)
    with exclusive(path):
        assert is_held(path)
    assert not is_held(path)


def test_an_error_inside_gives_it_back(tmp_path: Path) -> None:
    with pytest.raises(KeyError), exclusive(tmp_path / "lock"):
        raise KeyError
    assert not is_held(tmp_path / "lock")


def test_one_at_a_time(tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []
    together = threading.Barrier(8)

    def enter() -> None:
        together.wait()
        for _ in range(50):
            with exclusive(tmp_path / "lock"):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=enter) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (max(most), len(most)) == (1, 400)


def test_a_child_that_inherited_it_holds_it_after_its_parent_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    child = int(holder.stdout.readline())
    holder.kill()
    holder.wait()
    holder.stdin.close()
    holder.stdout.close()
    assert is_held(path)
    os.kill(child, signal.SIGKILL)
    assert eventually(lambda: not is_held(path))


def test_a_place_where_no_file_can_be_is_temporary(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Temporary, match="lock"), exclusive(tmp_path / "file" / "lock"):
        pass
    with pytest.raises(Temporary, match="lock"):
        is_held(tmp_path / "file" / "lock")
