"""What `slipway plan` shows: W&B's own examples of queue configs (examples/), planned with nothing but this machine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

from slipway import wire
from slipway.cli.main import main
from slipway.errors import Invalid
from slipway.functions.plan import plan
from slipway.queues import parse_queue
from slipway.render.surroundings import Surroundings

EXAMPLES = Path(__file__).parent / "examples"
IMAGE = "registry.example.com/team/train:1"

Payload = dict[str, Any]

words = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=20)
_names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,20}", fullmatch=True) | st.text(
    st.characters(exclude_characters="/", exclude_categories=("Cs", "Cc", "Z")), min_size=1, max_size=20
)
specs = st.fixed_dictionaries(
    {},
    optional={
        "name": _names,
        "author": _names,
        "entity": _names,
        "project": _names,
        "run_id": st.from_regex(r"[a-z0-9][a-z0-9_-]{0,63}", fullmatch=True),
        "overrides": st.fixed_dictionaries(
            {},
            optional={
                "args": st.lists(words, max_size=3),
                "entry_point": st.lists(words.filter(bool), min_size=1, max_size=3),
                "run_config": st.dictionaries(words, words | st.integers() | st.none(), max_size=3),
            },
        ),
    },
)
"""What a submitter may choose and a payload carries."""


def example(file: str) -> dict[str, Any]:
    """A config as W&B's documentation has it; `<REQUIRED>` is still to be filled in."""
    document: dict[str, Any] = yaml.safe_load((EXAMPLES / file).read_text())
    return document


def planned(
    resource: str,
    config: Mapping[str, Any],
    spec: Mapping[str, Any] | None = None,
    *,
    builder: Mapping[str, Any] | None = None,
    around: Surroundings | None = None,
    fetch: bool = False,
) -> Payload:
    """The payload of the plan of a submission to a queue with this config, where the deployment knows no more than
    `around`. Raises Invalid as a submission would."""
    queue = parse_queue(
        {
            "name": "schemas",
            "resource": resource,
            "resource_args": dict(config),
            "overridable_fields": ["additional_services"] if resource == "kubernetes" else [],
            "builder": dict(builder or {}),
        },
        entity="team",
    )
    source = {} if spec and spec.keys() & {"uri", "docker"} else {"docker": {"docker_image": IMAGE}}
    document = {
        "entity": "team",
        "project": "digits",
        "queue": "schemas",
        "queue_entity": "team",
        **source,
        **(spec or {}),
    }
    ports = wire.planning(queue)
    ports = ports if around is None else replace(ports, around=around)
    payload: Payload = plan(document, ports, fetch=fetch, registry=False)["payload"]
    return payload


def planned_or_refused(resource: str, config: Mapping[str, Any], spec: Mapping[str, Any]) -> Payload | None:
    """None where the submission is refused, which is as good as valid: nothing is sent."""
    try:
        return planned(resource, config, spec)
    except Invalid:
        return None


def printed(queue: Path | str, resource: str, capsys: Any, spec: Mapping[str, Any] | None = None) -> Payload:
    """What the command line prints for a W&B queue config in a file."""
    document = {"entity": "team", "project": "digits", "docker": {"docker_image": IMAGE}, **(spec or {})}
    words = ("--queue-config", str(queue), "--resource", resource, "--spec", json.dumps(document))
    code = main(["plan", *words])
    told = capsys.readouterr()
    assert code == 0, told.err
    payload: Payload = json.loads(told.out)["payload"]
    return payload
