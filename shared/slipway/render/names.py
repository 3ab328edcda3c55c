"""Names that vendors take: what of a text may stand in a label, and a name of its own for every attempt."""

from __future__ import annotations

import re

from slipway.errors import Invalid, Problem
from slipway.model import RunRef

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def label_safe(value: str, field: str) -> str:
    """The text as a DNS-1123 label, by W&B's rule: lower case, `_` is `-`, nothing else but letters, digits and single
    hyphens, at most 63. Raises Invalid when nothing is left.
    https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-label-names"""
    safe = re.sub(r"-+", "-", re.sub(r"[^a-z0-9-]", "", value.replace("_", "-").lower()))[:63].strip("-")
    if not safe:
        raise Invalid(Problem(field, "has no letter or digit that a Kubernetes name may hold", value))
    return safe


def label_value(value: str) -> str:
    """A W&B run id as the value of a label: as it is but for its end, as it may be longer, or end in `-` or `_`.
    https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set"""
    return value[:63].rstrip("-_")


def object_name(given: str, run: RunRef, field: str, *, most: int) -> str:
    """The name that a queue's config gives to an object of Kubernetes, with its attempt behind it from the second on.

    `${run_id}-job` is a usual one, and a run id may hold what such a name may not: only then it is changed.
    https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-subdomain-names"""
    name = given if _SUBDOMAIN.fullmatch(given) else re.sub(r"[^a-z0-9.-]", "", given.lower().replace("_", "-"))
    name = re.sub(r"-*\.[.-]*", ".", name).strip("-.")
    if not name:
        raise Invalid(Problem(field, "has no letter or digit that a Kubernetes name may hold", given))
    if len(name) > most:
        raise Invalid(Problem(field, f"is longer than {most} characters, which Kubernetes refuses", given))
    ending = of_attempt("", run)
    return name[: most - len(ending)].rstrip("-.") + ending


def of_attempt(given: str, run: RunRef) -> str:
    """The name that a queue's config gives, and its attempt from the second on: no backend gives a name twice."""
    return given if run.attempt == 1 else f"{given}-{run.attempt}"
