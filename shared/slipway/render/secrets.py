"""How a run on a backend without references to secrets gets them: it is told where they lie, and fetches them itself.

Neither CreateTrainingJob's Environment nor a CustomJob's env can refer to a secret (both are plain text, shown to
whoever may describe the job), so no value is put there. SLIPWAY_SECRETS names, per variable, the secret in the cloud's
own secret manager; the run reads it with its own role, and so with rights that the account's owner gave it.

In an image that Slipway generates for such a backend, a program of ours does that before it becomes the job's command.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from slipway.dockerfile import Starter
from slipway.launch import MAX_VARIABLE, chunked

VARIABLE = "SLIPWAY_SECRETS"
FETCHED_BY_RUNS = frozenset({"sagemaker"})
"""The resources whose generated images start through the program."""
PATH = "/opt/slipway/with-secrets.py"
"""Where it lies in an image."""


def references(
    wanted: Mapping[str, str], known: Mapping[str, str], limit: int = MAX_VARIABLE
) -> tuple[dict[str, str], tuple[str, ...]]:
    """The variable that says where the wanted secrets lie, and a warning for each that lies nowhere.

    `wanted` maps a run's variable to the name of its secret, `known` that name to the vendor's reference. A text of
    more than `limit` characters comes in several variables (see `slipway.launch.chunked`)."""
    found = {variable: known[name] for variable, name in wanted.items() if name in known}
    missing = tuple(
        f"{variable} has no reference in this deployment, so the run does not get it"
        for variable in wanted.keys() - found
    )
    return (chunked(VARIABLE, json.dumps(found), limit) if found else {}), tuple(sorted(missing))


def starter() -> Starter:
    """The program that fetches them; see `slipway.render.with_secrets`."""
    return Starter(PATH, program())


def program() -> str:
    """Its text."""
    from slipway.render import with_secrets

    return Path(with_secrets.__file__).read_text("utf-8")


def bare(entry_point: Sequence[str]) -> tuple[str, ...]:
    """An entry point as it is for an image that has no such program in it."""
    words = Starter(PATH, "").words
    return tuple(entry_point[len(words) :] if tuple(entry_point[: len(words)]) == words else entry_point)
