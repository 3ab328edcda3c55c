"""What a cluster tells of one run: its object, and where that says too little its pods and their events.

The words are `slipway.status`'s; here is what is asked for, and when.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from slipway.adapters.kubernetes.finding import Finder, Place
from slipway.errors import Forbidden
from slipway.model import RunPhase, RunRef, RunStatus
from slipway.ports import Secrets
from slipway.status.kubernetes import of_events, run_status
from slipway.status.pods import DISRUPTIONS

Body = Mapping[str, Any]
_REFERENCES = "slipway.secrets"
"""An annotation: which of the deployment's secrets a run was given, by name."""
HIDDEN = "***"
_LIVE = (RunPhase.STARTING, RunPhase.RUNNING)


class Telling:
    """`secrets` are those that runs were given: their values are blacked out in what is told."""

    def __init__(self, finder: Finder, secrets: Secrets) -> None:
        self._finder = finder
        self._secrets = secrets

    def told(self, place: Place, body: Body, run: RunRef) -> RunStatus:
        """Of a run whose object is there."""
        return self._discreet(self._seen(place, body, run), body)

    def _seen(self, place: Place, body: Body, run: RunRef) -> RunStatus:
        """Pods are asked where the object itself does not tell all: why it waits, and why it failed."""
        status = run_status(body)
        if status.phase is RunPhase.FINISHED:
            return status
        try:
            pods = self._finder.pods(place.namespace, run)
        except Forbidden as error:
            # What is known without them is worth more than nothing.
            return replace(status, trouble=error.message) if status.phase in _LIVE else status
        return run_status(body, pods, self._events(place, body, status, pods))

    def _discreet(self, status: RunStatus, body: Body) -> RunStatus:
        """A container's last words may be told (`terminationMessagePolicy`), and have a secret in them. The values of a
        Secret that was there before are not known here."""
        if not (status.reason or status.trouble):
            return status
        reason, trouble = status.reason, status.trouble
        for reference in _references(body):
            if value := self._secrets.get(reference):
                reason, trouble = reason.replace(value, HIDDEN), trouble.replace(value, HIDDEN)
        return replace(status, reason=reason, trouble=trouble)

    def _events(self, place: Place, body: Body, status: RunStatus, pods: Sequence[Body]) -> list[Body]:
        """Those that tell what no status does: of pods that are gone, of pods that cannot be made, of a pod that is on
        its node and does not begin."""
        if status.phase is RunPhase.FAILED:
            return [] if pods else self._disruptions(place, str(body["metadata"].get("creationTimestamp") or ""))
        if not pods:
            return self._finder.events(place.namespace, **{"involvedObject.uid": place.uid})
        stuck = [pod for pod in pods if pod["status"].get("phase") == "Pending" and pod["spec"].get("nodeName")]
        about = {"involvedObject.uid": stuck[0]["metadata"]["uid"]} if stuck else None
        return self._finder.events(place.namespace, **about) if about else []

    def _disruptions(self, place: Place, since: str) -> list[Body]:
        """A preempted pod is deleted, and its Job says no more than that it failed. Events name pods: a Job's own end
        in five letters, after the number of their index. `since` is when the object was made."""
        found = [each for reason in DISRUPTIONS for each in self._finder.events(place.namespace, reason=reason)]
        own = re.compile(rf"{re.escape(place.name)}-([0-9]+-)?[a-z0-9]{{5}}")
        return [
            each
            for each in found
            if own.fullmatch(str((each.get("involvedObject") or {}).get("name")))
            and str(each.get("eventTime") or each.get("lastTimestamp") or since) >= since
        ]

    def gone(self, place: Place) -> RunStatus:
        """Of one whose object is gone: finished or failed where its last event says so."""
        events = self._finder.events(place.namespace, **{"involvedObject.uid": place.uid})
        return replace(of_events(events), backend_id=str(place))


def remembering(body: dict[str, Any], references: Sequence[str]) -> dict[str, Any]:
    """The object, with the names of the secrets whose values its run gets, and never with names that it brings."""
    metadata = body["metadata"]
    given = {key: value for key, value in (metadata.get("annotations") or {}).items() if key != _REFERENCES}
    ours = {_REFERENCES: json.dumps(sorted(references))} if references else {}
    if given or ours or "annotations" in metadata:
        body["metadata"] = {**metadata, "annotations": {**given, **ours}}
    return body


def _references(body: Body) -> Sequence[str]:
    """None where somebody has changed them into something else."""
    try:
        found = json.loads((body["metadata"].get("annotations") or {}).get(_REFERENCES) or "[]")
    except ValueError:
        return ()
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else ()
