"""Names that vendors take: what of a text may stand in a label, and a name of an own that is unique per attempt."""

from __future__ import annotations

import re

from slipway.errors import Invalid, Problem
from slipway.model import RunRef


def label_safe(value: str, field: str) -> str:
    """The text as a DNS-1123 label, by W&B's rule: lower case, `_` is `-`, nothing else but letters, digits and single
    hyphens, at most 63. Raises Invalid when nothing is left.
    https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-label-names"""
    safe = re.sub(r"-+", "-", re.sub(r"[^a-z0-9-]", "", value.replace("_", "-").lower()))[:63].strip("-")
    if not safe:
        raise Invalid(Problem(field, "has no letter or digit that a Kubernetes name may hold", value))
    return safe


def of_attempt(given: str, run: RunRef) -> str:
    """The name that a queue's config gives, and its attempt from the second on: no backend gives a name twice."""
    return given if run.attempt == 1 else f"{given}-{run.attempt}"
