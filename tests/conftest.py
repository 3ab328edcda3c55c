"""What every test runs under.

Property tests draw anew on a laptop, where a new counterexample is welcome. In CI they draw the same every time, so
that a change is judged by what it changes; the fresh draw there is the simulator's.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from slipway.adapters.aws.clients import Clients

settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("laptop", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "laptop")

# A runner that was started in the background hands down an ignored Ctrl-C, and all that a test starts would ignore it
# too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """moto's URL: AWS on loopback, one for all tests of this process."""
    from tests.standins.aws.moto_server import moto_server

    with moto_server() as url:
        yield url


@pytest.fixture
def aws(moto: str, monkeypatch: pytest.MonkeyPatch) -> Clients:
    """Clients that speak to moto, and an environment in which boto3 knows nothing else."""
    from tests.standins.aws.moto_server import environment

    from slipway.adapters.aws.clients import Clients

    for name, value in environment(moto).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    return Clients()
