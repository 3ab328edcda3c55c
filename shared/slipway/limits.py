"""How long a run may take by its resource's own word: a limit in the resource args, which the backend enforces.

Where there is one it is the deadline of `running`, so that the queue's owner writes a limit once, in the vendor's word
for it. Slipway's own deadline lies a little behind it: the backend ends the run, and says so better than we could.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from slipway.documents import is_number
from slipway.model import Json

GRACE = 300.0
"""Seconds for which a backend may be late with the end that its own limit demands."""


def run_limit(resource: str, resource_args: Mapping[str, Json]) -> float | None:
    """Seconds after which a run with these args is over for certain; None where its backend has no limit."""
    seconds = _LIMITS.get(resource, _none)(resource_args)
    return None if seconds is None else seconds + GRACE


def _sagemaker(args: Mapping[str, Json]) -> float | None:
    """`StoppingCondition`: MaxWaitTimeInSeconds includes the wait for a spot instance, and is the larger of the two.
    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_StoppingCondition.html"""
    condition = _inner(args, "StoppingCondition") or _inner(args, "stopping_condition")
    known = [_seconds(condition.get(name)) for name in ("MaxRuntimeInSeconds", "MaxWaitTimeInSeconds")]
    return max((seconds for seconds in known if seconds is not None), default=None)


def _vertex(args: Mapping[str, Json]) -> float | None:
    """`run.timeout`, the argument of `CustomJob.run`: "the maximum job running time in seconds", 7 days by default.
    https://cloud.google.com/python/docs/reference/aiplatform/latest/google.cloud.aiplatform.CustomJob"""
    return _seconds(_inner(args, "run").get("timeout"))


def _kubernetes(args: Mapping[str, Json]) -> float | None:
    """`activeDeadlineSeconds` of a Job (its pods' too, where a failed pod is not replaced), or of a Kubeflow job's
    `runPolicy`. https://kubernetes.io/docs/concepts/workloads/controllers/job/#job-termination-and-cleanup"""
    spec = _inner(args, "spec")
    whole = _seconds(spec.get("activeDeadlineSeconds")) or _seconds(
        _inner(spec, "runPolicy").get("activeDeadlineSeconds")
    )
    if whole is not None or spec.get("backoffLimit"):
        return whole
    return _seconds(_inner(_inner(spec, "template"), "spec").get("activeDeadlineSeconds"))


def _none(_: Mapping[str, Json]) -> float | None:
    return None


def _inner(args: Mapping[str, Json], key: str) -> Mapping[str, Json]:
    value = args.get(key)
    return value if isinstance(value, Mapping) else {}


def _seconds(value: Json) -> float | None:
    return float(value) if is_number(value) and value > 0 else None


_LIMITS: Mapping[str, Callable[[Mapping[str, Json]], float | None]] = {
    "sagemaker": _sagemaker,
    "gcp-vertex": _vertex,
    "kubernetes": _kubernetes,
}
