"""How a run on a backend without references to secrets gets them: it is told where they lie, and fetches them itself.

Neither CreateTrainingJob's Environment nor a CustomJob's env can refer to a secret (both are plain text, shown to
whoever may describe the job), so no value is put there. SLIPWAY_SECRETS names, per variable, the secret in the cloud's
own secret manager; the run reads it with its own role, and so with rights that the account's owner gave it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

VARIABLE = "SLIPWAY_SECRETS"


def references(wanted: Mapping[str, str], known: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """The variable that says where the wanted secrets lie, and a warning for each that lies nowhere.

    `wanted` maps a run's variable to the name of its secret, `known` that name to the vendor's reference."""
    found = {variable: known[name] for variable, name in wanted.items() if name in known}
    missing = tuple(
        f"{variable} has no reference in this deployment, so the run does not get it"
        for variable in wanted.keys() - found
    )
    return ({VARIABLE: json.dumps(found)} if found else {}), tuple(sorted(missing))
