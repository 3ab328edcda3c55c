"""The command line in this process, as a person or a script meets it: what is printed where, and the exit code."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from slipway.cli.main import main


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ran]


def command_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], **variables: str
) -> Run:
    """Runs a command line in an empty folder, on an empty data folder, logged in nowhere, with none of Slipway's
    variables but these."""
    for name in [each for each in os.environ if each.startswith("SLIPWAY_")]:
        monkeypatch.delenv(name)
    own = {"SLIPWAY_HOME": str(folder / "home"), "XDG_CONFIG_HOME": str(folder / "config")}
    for name, value in {**own, **variables}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(folder)

    def run(*arguments: str) -> Ran:
        code = main(arguments)
        printed = capsys.readouterr()
        return Ran(code, printed.out, printed.err)

    return run
