"""`slipway submit --wait`: an item on its way, from this terminal's chair."""

from __future__ import annotations

import sys
import threading
import time

from slipway.cli.client import Client, path
from slipway.cli.draw import ran
from slipway.cli.failure import RUN_FAILED
from slipway.cli.output import Format, brief, dump, duration, local_time, note, stderr
from slipway.errors import Temporary
from slipway.model import Json, State

LOOK = 0.25
"""Seconds between two looks, at first; they come to LOOK_LATER as time goes by."""
LOOK_LATER = 2.0
PATIENCE = 60.0
"""Seconds for which a Slipway that does not answer, such as one being restarted, is waited for."""
INTERRUPTED = 130


def wait_for(client: Client, item_id: str, output: Format) -> int:
    """Follows an item to its end, and prints it. Returns the exit code: 0 finished, 4 failed or stopped, 130 on Ctrl-C,
    which leaves the item on its way."""
    try:
        item = _follow(client, item_id)
    except KeyboardInterrupt:
        note(
            f"\nNo longer watching; {item_id} goes on. `slipway logs -f {item_id}` follows it, "
            f"`slipway cancel {item_id}` ends it."
        )
        return INTERRUPTED
    if output is Format.TABLE:
        print(item_id)
        for name, value in item["metrics"].items():
            print(f"{name} = {brief(value)}")
    else:
        print(dump(item, output))
    finished: bool = item["state"] == State.FINISHED
    if not finished and item["started_at"]:
        note(f"`slipway logs {item_id}` shows what it wrote.")
    return 0 if finished else RUN_FAILED


def _follow(client: Client, item_id: str) -> Json:
    """The item once it is over. Each state it passes through is told once; a terminal shows the current one, too."""
    console = stderr()
    told = 0
    pause, gap = threading.Event(), LOOK
    with console.status(f"{item_id} …") if sys.stderr.isatty() else _Quiet() as status:
        while True:
            item = _look(client, item_id)
            for moment in item["timeline"][told:]:
                reason = f": {moment['reason']}" if moment["reason"] else ""
                took = f" after {duration(ran(item))}" if State(moment["state"]).terminal and ran(item) else ""
                console.print(f"{local_time(moment['at'])[11:]}  {moment['state']}{took}{reason}", soft_wrap=True)
            told = len(item["timeline"])
            if State(item["state"]).terminal:
                return item
            since = f" for {duration(ran(item))}" if item["started_at"] else ""
            status.update(f"{item_id} {item['state']}{since}")
            pause.wait(gap)
            gap = min(gap * 1.1, LOOK_LATER)


def _look(client: Client, item_id: str) -> Json:
    give_up = time.monotonic() + PATIENCE
    while True:
        try:
            return client.get(path("items", item_id))
        except Temporary:
            if time.monotonic() > give_up:
                raise
            threading.Event().wait(LOOK_LATER)


class _Quiet:
    """What stands for a spinner where there is no terminal."""

    def __enter__(self) -> _Quiet:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def update(self, text: str) -> None:
        return None
