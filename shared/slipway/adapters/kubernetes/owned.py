"""What is made beside a run and goes with it: its Secret, and the services that its submission brings.

Each is owned by the run's object, so that the cluster's garbage collector removes it with that one, whatever becomes of
Slipway; and so each can only be made after it. A pod that needs the Secret waits for it: the reference is not optional.
https://kubernetes.io/docs/concepts/architecture/garbage-collection/#owners-dependents
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from slipway.adapters.kubernetes.api import Api
from slipway.adapters.kubernetes.kinds import SECRET, Kinds
from slipway.errors import AlreadyExists, Invalid, Permanent, Problem, Refused
from slipway.model import RunRef
from slipway.render.kubernetes import ATTEMPT_LABEL, ITEM_LABEL

LARGEST = 1 << 20
"""Bytes of a Secret. https://kubernetes.io/docs/concepts/configuration/secret/#restriction-data-size"""


def owner(of: Mapping[str, Any]) -> dict[str, Any]:
    """The reference to an object that the API server has answered with. Without `blockOwnerDeletion`: that takes the
    right to update the owner's finalizers, where clusters check for it."""
    return {
        "apiVersion": of["apiVersion"],
        "kind": of["kind"],
        "name": of["metadata"]["name"],
        "uid": of["metadata"]["uid"],
    }


def check_size(values: Mapping[str, str]) -> None:
    """Raises Invalid for values that no Secret can hold. None of them is in the message."""
    size = sum(len(value.encode()) for value in values.values())
    if size > LARGEST:
        rule = f"are {size} bytes together, and a Secret holds {LARGEST}"
        raise Invalid(Problem("secrets", rule, fix="Mount a file from a volume instead."))


def make_secret(api: Api, run: RunRef, namespace: str, values: Mapping[str, str], owned_by: Mapping[str, Any]) -> bool:
    """A Secret of the run's own name. False where there was one of that name already. What the server says of one that
    it refuses is not repeated: it may quote the Secret."""
    body = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {
            "name": run.name,
            "namespace": namespace,
            "labels": _labels(run),
            "ownerReferences": [owner(owned_by)],
        },
        "data": {name: b64encode(value.encode()).decode() for name, value in values.items()},
    }
    try:
        api.create(SECRET.collection(namespace), body, f"make the Secret {namespace}/{run.name}")
    except AlreadyExists:
        return False
    except Invalid:
        names = ", ".join(sorted(values))
        raise Permanent(f"the cluster does not take the Secret {namespace}/{run.name} with the keys {names}") from None
    return True


def make_service(
    api: Api, kinds: Kinds, run: RunRef, service: Mapping[str, Any], owned_by: Mapping[str, Any], field: str
) -> None:
    """An object beside the run. One that is there already is this run's, or AlreadyExists is raised; one of an earlier
    attempt, which goes when that one's object does, is removed, and Refused raised until it is gone."""
    kind = kinds.find(str(service.get("apiVersion") or "v1"), str(service.get("kind")))
    namespace, name = service["metadata"]["namespace"], str(service["metadata"].get("name"))
    metadata = {**service["metadata"], "ownerReferences": [owner(owned_by)]}
    doing = f"make the {kind.kind} {namespace}/{name} beside the run"
    try:
        api.create(kind.collection(namespace), {**service, "metadata": metadata}, doing, field=field)
    except AlreadyExists:
        found = api.get(kind.path(namespace, name), doing)
        if is_of(found, run):
            return
        if _item_of(found) == run.item_id:
            uid = found["metadata"]["uid"]
            api.delete(kind.path(namespace, name), doing, preconditions={"uid": uid})
            raise Refused(f"the {kind.kind} {namespace}/{name} of an earlier attempt is being removed", 10.0) from None
        cure = "Give it another name, or one with ${run_id} in it"
        raise AlreadyExists(f"a {kind.kind} named {namespace}/{name} exists and is not this run's. {cure}") from None


def is_of(body: Mapping[str, Any], run: RunRef) -> bool:
    labels = (body.get("metadata") or {}).get("labels") or {}
    return (labels.get(ITEM_LABEL), labels.get(ATTEMPT_LABEL)) == (run.item_id, str(run.attempt))


def _item_of(body: Mapping[str, Any]) -> str | None:
    return ((body.get("metadata") or {}).get("labels") or {}).get(ITEM_LABEL)


def _labels(run: RunRef) -> dict[str, str]:
    return {ITEM_LABEL: run.item_id, ATTEMPT_LABEL: str(run.attempt), "wandb.ai/created-by": "slipway"}
