"""Looking at the Docker engine from outside of Slipway, and clearing away what a test left there."""

from __future__ import annotations

import subprocess


def docker(*arguments: str, check: bool = True) -> str:
    """What the docker command printed."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0 or not check, f"docker {arguments[0]}: {done.stderr}"
    return done.stdout.strip()


def containers(item_id: str) -> list[str]:
    """The ids of an item's containers, whatever their state."""
    return docker("ps", "--all", "--quiet", "--filter", f"label=slipway.item={item_id}").split()


def remove_containers(item_ids: list[str]) -> None:
    for item_id in item_ids:
        if found := containers(item_id):
            docker("rm", "--force", "--volumes", *found, check=False)
