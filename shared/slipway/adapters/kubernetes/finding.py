"""Where runs of ours are in a cluster: by the labels that every one of them, and every pod of it, has."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from slipway.adapters.kubernetes.api import Api
from slipway.adapters.kubernetes.kinds import EVENT, JOB, POD, Kind, Kinds
from slipway.errors import Forbidden, Invalid, NotFound
from slipway.model import RunRef
from slipway.render.kubernetes import ATTEMPT_LABEL, AUXILIARY_LABEL, ITEM_LABEL

Body = Mapping[str, Any]
ANY = f"{ITEM_LABEL},!{AUXILIARY_LABEL}"
"""Selects every run, and none of the services beside one."""
_OF_JOBS = {"apiVersion": JOB.api_version, "kind": JOB.kind}
"""What the API server leaves out of the objects in a list."""


@dataclass(frozen=True, slots=True)
class Place:
    """Which object a run is: what an item keeps as its backend's name of it, `<path>#<uid>`. The uid tells it from a
    later object of its name."""

    path: str
    """`/apis/batch/v1/namespaces/ml/jobs/train`: `kubectl get --raw` takes it."""
    uid: str

    @staticmethod
    def of(backend_id: str) -> Place:
        path, _, uid = backend_id.partition("#")
        return Place(path, uid)

    @property
    def namespace(self) -> str:
        return self.path.split("/namespaces/", 1)[1].split("/", 1)[0]

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    def __str__(self) -> str:
        return f"{self.path}#{self.uid}"


class Finder:
    """Looks in `namespaces`; where none is named in all that it may list, else in `default`.

    Jobs are listed. Which other kinds runs are of, a cluster does not tell: their pods do, each by its owners.
    """

    def __init__(self, api: Api, kinds: Kinds, namespaces: Sequence[str], default: str) -> None:
        self._api = api
        self._kinds = kinds
        self._namespaces = tuple(dict.fromkeys(namespaces))
        self._default = default
        self._everywhere = not namespaces
        self._lock = threading.Lock()

    def objects(self, selector: str) -> list[tuple[Place, Body]]:
        """Every run with these labels."""
        found: dict[str, Body] = {path_of(JOB, body): {**body, **_OF_JOBS} for body in self._listed(JOB, selector)}
        looked_at = set(found)
        for pod in self._listed(POD, selector):
            for path in self._owners(pod):
                if path not in looked_at:
                    looked_at.add(path)
                    found.update(self._runs_above(path))
        return [(Place(path, body["metadata"]["uid"]), body) for path, body in found.items()]

    def pods(self, namespace: str, run: RunRef) -> list[Body]:
        """The oldest first."""
        doing = f"list the pods of the run in namespace {namespace}"
        found = self._api.items(POD.collection(namespace), doing, labelSelector=selector_of(run))
        return sorted(found, key=lambda pod: (pod["metadata"].get("creationTimestamp") or "", pod["metadata"]["name"]))

    def events(self, namespace: str, **fields: str) -> list[Body]:
        """Of the objects with these fields (`involvedObject.name`); none without the right to list events, which only
        make more of what is known anyway."""
        chosen = ",".join(f"{name}={value}" for name, value in fields.items())
        try:
            doing = f"list events in namespace {namespace}"
            return list(self._api.items(EVENT.collection(namespace), doing, fieldSelector=chosen))
        except Forbidden:
            return []

    def _listed(self, kind: Kind, selector: str) -> Iterator[Body]:
        doing = f"list the {kind.plural} with our labels"
        if self._everywhere:
            try:
                yield from self._api.items(kind.collection(None), f"{doing} in all namespaces", labelSelector=selector)
            except Forbidden:
                with self._lock:
                    self._everywhere = False
            else:
                return
        for namespace in self._namespaces or (self._default,):
            yield from self._api.items(
                kind.collection(namespace), f"{doing} in namespace {namespace}", labelSelector=selector
            )

    def _owners(self, body: Body) -> Iterator[str]:
        namespace = body["metadata"]["namespace"]
        for each in body["metadata"].get("ownerReferences") or []:
            with suppress(Invalid):  # of the whole cluster, as a pod's Node may be
                yield self._kinds.find(each["apiVersion"], each["kind"]).path(namespace, each["name"])

    def _runs_above(self, path: str) -> Iterator[tuple[str, Body]]:
        """What has our labels among an owner of pods and its owners: an operator may put Jobs between."""
        with suppress(NotFound, Forbidden):
            body = self._api.get(path, f"look at {path}")
            if labelled(body) is not None:
                yield path, body
            for above in self._owners(body):
                yield from self._runs_above(above)


def selector_of(run: RunRef) -> str:
    return f"{ITEM_LABEL}={run.item_id},{ATTEMPT_LABEL}={run.attempt},!{AUXILIARY_LABEL}"


def path_of(kind: Kind, body: Body) -> str:
    return kind.path(body["metadata"]["namespace"], body["metadata"]["name"])


def labelled(body: Body) -> RunRef | None:
    """The run that the object says it is; None for one that does not."""
    labels = body["metadata"].get("labels") or {}
    item, attempt = labels.get(ITEM_LABEL), labels.get(ATTEMPT_LABEL, "")
    return RunRef(item, int(attempt)) if item and attempt.isdecimal() else None
