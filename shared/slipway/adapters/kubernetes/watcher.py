"""Tells when something about a run or a build changes, as the API server's watches do: of its object, and of its pods.

A watch goes on where the last one ended, by the version of what it saw last. Where the server has forgotten that (410),
all is listed anew and held against what was known, so that a change in between is told too.
https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from slipway.adapters.kubernetes.api import Api, Stream
from slipway.adapters.kubernetes.build_jobs import IMAGE, IMAGE_LABEL
from slipway.adapters.kubernetes.failures import Vanished, of_answer
from slipway.adapters.kubernetes.finding import ANY
from slipway.adapters.kubernetes.kinds import JOB, POD, Kind, Kinds
from slipway.errors import Forbidden, SlipwayError
from slipway.model import Changed
from slipway.render.kubernetes import ITEM_LABEL

LONGEST = 240
"""Seconds of one watch, which is then begun again: proxies cut what lasts longer."""
SLACK = 30.0
"""Seconds by which a server may end a watch too late, before it counts as gone."""

Body = Mapping[str, Any]

_log = logging.getLogger(__name__)


class KubernetesWatcher:
    """Watches Jobs and pods in each of `namespaces`; in all that it may watch where none is named, else in `default`.
    `patience` is seconds before it tries again after a failure, doubled up to 60. It is silent until it begins: a
    deployment whose queues name no cluster needs none."""

    def __init__(self, namespaces: Sequence[str] = (), *, default: str = "default", patience: float = 1.0) -> None:
        self._namespaces: Sequence[str | None] = namespaces or (None,)
        self._default = default
        self._patience = patience
        self._changes: queue.SimpleQueue[Changed | None] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._api: Api | None = None
        self._watches: list[_Watch] = []
        self._kinds: Kinds | None = None
        self._owners: set[tuple[str, str]] = set()
        self._watched: set[_Subject] = set()

    def begin(self, api: Api) -> None:
        """Done twice it is done once."""
        with self._lock:
            if self._api is None:
                self._api, self._kinds = api, Kinds(api)
        for kind in (JOB, POD):
            self._watch(kind)

    def _watch(self, kind: Kind) -> None:
        for namespace in self._namespaces:
            self._begin(_Subject(kind, namespace, ANY, _of_run))

    def _owned_by(self, api_version: str, kind: str) -> None:
        """Whoever owns pods is watched too: an operator's verdict comes after the end of its pods."""
        with self._lock:
            if self._kinds is None or (api_version, kind) in self._owners:
                return
            self._owners.add((api_version, kind))
        with suppress(SlipwayError):
            self._watch(self._kinds.find(api_version, kind))

    def watch_builds(self, namespace: str) -> None:
        """The Jobs of builds there, too."""
        self._begin(_Subject(JOB, namespace, IMAGE_LABEL, _of_build))

    def _begin(self, subject: _Subject) -> None:
        with self._lock:
            if self._api is None or subject in self._watched or self._closed.is_set():
                return
            self._watched.add(subject)
            watch = _Watch(
                self._api, subject, self._default, self._changes, self._closed, self._patience, self._owned_by
            )
            self._watches.append(watch)
        watch.thread.start()

    def changes(self, timeout: float) -> Sequence[Changed]:
        """What changed since the last call; blocks up to `timeout` seconds for the first. Empty once closed."""
        found: dict[Changed, None] = {}
        with suppress(queue.Empty):
            change = self._changes.get(timeout=0.0 if self._closed.is_set() else max(0.0, timeout))
            while change is not None:
                found[change] = None
                change = self._changes.get_nowait()
        return tuple(found)

    def close(self) -> None:
        """Wakes a call of `changes` that waits in another thread. Closing twice is closing once."""
        self._closed.set()
        for watch in self._watches:
            watch.cut()
        self._changes.put(None)


def _of_run(body: Body) -> Changed:
    return Changed(item_id=body["metadata"]["labels"][ITEM_LABEL])


def _of_build(body: Body) -> Changed:
    return Changed(image=(body["metadata"].get("annotations") or {}).get(IMAGE))


@dataclass(frozen=True, slots=True)
class _Subject:
    """What is watched."""

    kind: Kind
    namespace: str | None
    """None: all of them."""
    selector: str
    told: Callable[[Body], Changed]


class _Watch:
    """Of one kind of object, in one namespace or in all; a thread of its own."""

    def __init__(
        self,
        api: Api,
        subject: _Subject,
        default: str,
        changes: queue.SimpleQueue[Changed | None],
        closed: threading.Event,
        patience: float,
        owned_by: Callable[[str, str], None],
    ) -> None:
        self._api = api
        self._subject = subject
        self._kind = subject.kind
        self._namespace = subject.namespace
        self._default = default
        self._changes = changes
        self._closed = closed
        self._patience = patience
        self._owned_by = owned_by
        self._version: str | None = None
        self._known: dict[str, tuple[Changed, str]] | None = None
        """uid → what it is to tell, and what was seen of it last; None before the first look."""
        self._stream: Stream | None = None
        self.thread = threading.Thread(target=self._run, name=f"watch {subject.kind.plural}", daemon=True)

    def cut(self) -> None:
        if self._stream is not None:
            self._stream.cut()

    def _run(self) -> None:
        wait = self._patience
        while not self._closed.is_set():
            try:
                if self._version is None:
                    self._list()
                begun = time.monotonic()
                self._listen()
                if time.monotonic() - begun < self._patience:
                    # A server that ends every watch at once is not asked without a pause.
                    self._closed.wait(self._patience)
                wait = self._patience
            except Vanished:
                self._version = None
                self._closed.wait(self._patience)
            except Forbidden as error:
                if self._namespace is None:
                    self._namespace = self._default
                    continue
                wait = self._failed(error, wait)
            except SlipwayError as error:
                wait = self._failed(error, wait)
            except Exception as error:
                # A line that is cut short, say. The thread is for as long as the process is.
                wait = self._failed(error, wait)

    def _failed(self, error: Exception, wait: float) -> float:
        _log.warning("no events of %s: %s", self._kind.plural, error)
        self._closed.wait(wait)
        return min(wait * 2, 60.0)

    @property
    def _path(self) -> str:
        return self._kind.collection(self._namespace)

    @property
    def _doing(self) -> str:
        return f"watch {self._kind.plural} in {self._namespace or 'all namespaces'}"

    def _list(self) -> None:
        """Tells of what changed since it was seen last, and of what is gone since."""
        listed = self._api.get(self._path, self._doing, labelSelector=self._subject.selector)
        now = {each["metadata"]["uid"]: self._seen(each) for each in listed.get("items") or []}
        if self._known is not None:
            for uid, seen in {**self._known, **now}.items():
                if self._known.get(uid) != now.get(uid):
                    self._changes.put(seen[0])
        self._known = now
        self._version = listed["metadata"]["resourceVersion"]

    def _listen(self) -> None:
        known = self._known
        assert known is not None
        assert self._version is not None
        query = {
            "watch": "true",
            "labelSelector": self._subject.selector,
            "resourceVersion": self._version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(LONGEST),
        }
        with self._api.stream(self._path, self._doing, silence=LONGEST + SLACK, **query) as stream:
            self._stream = stream
            for line in stream:
                if self._closed.is_set():
                    return
                event = json.loads(line)
                if event["type"] == "ERROR":
                    code = int(event["object"].get("code") or 500)
                    raise of_answer(self._doing, code, json.dumps(event["object"]).encode())
                body = event["object"]
                self._version = body["metadata"]["resourceVersion"]
                if event["type"] != "BOOKMARK":
                    self._heard(event["type"], body, known)

    def _heard(self, kind: str, body: Body, known: dict[str, tuple[Changed, str]]) -> None:
        """Of one that is new nothing is told: whoever made it knows. Nor of what changes nothing about a run."""
        uid, now = body["metadata"]["uid"], self._seen(body)
        before = known.pop(uid, now)
        if kind != "DELETED":
            known[uid] = now
        if kind == "DELETED" or before != now:
            self._changes.put(now[0])

    def _seen(self, body: Body) -> tuple[Changed, str]:
        if self._kind is POD:
            for owner in body["metadata"].get("ownerReferences") or []:
                self._owned_by(owner["apiVersion"], owner["kind"])
        return self._subject.told(body), _state(body)


def _state(body: Body) -> str:
    """What of an object's status is news of its run, as text. A pod's status changes with every address and probe."""
    status = body.get("status") or {}
    ending = body["metadata"].get("deletionTimestamp") is not None
    if "containerStatuses" not in status and "phase" not in status:
        return json.dumps([ending, status], sort_keys=True)
    statuses = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    states = [
        [word, (inner or {}).get("reason")] for each in statuses for word, inner in (each.get("state") or {}).items()
    ]
    unplaced = [each.get("message") for each in status.get("conditions") or [] if each.get("type") == "PodScheduled"]
    return json.dumps([ending, status.get("phase"), states, unplaced])
