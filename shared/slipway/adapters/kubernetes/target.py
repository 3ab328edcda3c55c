"""Runs as objects of Kubernetes (S15): a Job, or an object of any kind that the cluster knows.

A run's object is made first, and then what belongs to it (its Secret last, for which its pods wait), each owned by the
object: so a start that dies between two calls leaves nothing that does not go with the run. Which run an object is, its
labels say: a name may be somebody else's, and the queue's config may choose it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

from slipway.adapters.kubernetes import pod_logs
from slipway.adapters.kubernetes.api import Api
from slipway.adapters.kubernetes.finding import ANY, Finder, Place, labelled, path_of, selector_of
from slipway.adapters.kubernetes.kinds import Kinds
from slipway.adapters.kubernetes.owned import check_size, is_of, make_secret, make_service
from slipway.adapters.kubernetes.telling import Telling, remembering
from slipway.errors import AlreadyExists, Invalid, NotFound, Permanent, Problem, Refused, Temporary
from slipway.model import Launch, RunPhase, RunRef, RunStatus
from slipway.ports import Blobs, Secrets
from slipway.render import kubernetes as manifests
from slipway.render.surroundings import Cluster
from slipway.status.kubernetes import run_status

Body = Mapping[str, Any]
_OVER = frozenset({RunPhase.FINISHED, RunPhase.FAILED, RunPhase.STOPPED, RunPhase.PREEMPTED})


class KubernetesTarget:
    """Safe for use by several threads.

    `cluster` says what the queue's config leaves open. Runs are looked for in `namespaces`, where none is named in all
    that may be listed. `archive` keeps the log of a run that is over for when its pods are gone. `look_again` is as of
    the port: it must be shorter than a finished Job stays (S16: 60 s), or its end is known from its events only.
    """

    start_lease = 60.0

    def __init__(
        self,
        api: Api,
        cluster: Cluster,
        secrets: Secrets,
        *,
        namespaces: Sequence[str] = (),
        archive: Blobs | None = None,
        look_again: float = 30.0,
    ) -> None:
        self._api = api
        self._cluster = cluster
        self._secrets = secrets
        self._archive = archive
        self.look_again = look_again
        self._kinds = Kinds(api)
        self._finder = Finder(api, self._kinds, namespaces, cluster.namespace)
        self._telling = Telling(self._finder, secrets)

    def start(self, launch: Launch) -> RunStatus:
        begun = time.monotonic()
        values, missing = self._values(launch)
        own = launch if self._cluster.secret is not None else replace(launch, secrets=dict.fromkeys(values, ""))
        body = remembering(manifests.manifest(own, self._cluster), [launch.secrets[name] for name in values])
        services = [
            manifests.service(each, own, self._cluster, f"additional_services[{index}].config")
            for index, each in enumerate(launch.services)
        ]
        kind = self._kinds.find(str(body["apiVersion"]), str(body["kind"]))
        try:
            made = self._api.create(
                kind.collection(body["metadata"]["namespace"]), body, f"start the {kind.kind} {_named(body)}"
            )
        except AlreadyExists:
            return self._adopted(path_of(kind, body), launch.run, services, values)
        except NotFound as error:
            raise _missing_namespace(body, error) from error
        place = Place(path_of(kind, body), made["metadata"]["uid"])
        if not self._completed(place, made, launch.run, services, values):
            if time.monotonic() - begun > self.start_lease / 2:
                # Another may have adopted the object meanwhile, and made the Secret.
                raise Temporary(f"the start of {place.path} took so long that another may have made it whole")
            # Of an earlier object of this name: the garbage collector takes it, or it is somebody else's.
            self._delete(place)
            said = f"a Secret named {place.namespace}/{launch.run.name} exists and is not this run's"
            raise Refused(f"{said}: delete it, or wait until it goes with the object that owns it", retry_after=10.0)
        return RunStatus(RunPhase.STARTING, "", str(place), warnings=missing)

    def status(self, run: RunRef) -> RunStatus:
        found = self._found(run)
        if found is None:
            return (
                RunStatus(RunPhase.ABSENT) if run.backend_id is None else self._telling.gone(Place.of(run.backend_id))
            )
        place, body = found
        status = self._telling.told(place, body, run)
        if run.backend_id is None and status.phase is RunPhase.STARTING and not _ending(body):
            # Nobody heard of its start's end: what belongs to it may be missing. To start it again makes it whole.
            return RunStatus(RunPhase.ABSENT, "it was begun, and its start has not come to an end")
        if status.phase in _OVER:
            self._keep_log(place, run)
        return replace(status, backend_id=str(place))

    def live(self) -> Sequence[RunRef]:
        found = [(place, body, labelled(body)) for place, body in self._finder.objects(ANY)]
        return [
            replace(run, backend_id=str(place))
            for place, body, run in found
            if run is not None and run_status(body).phase not in _OVER
        ]

    def stop(self, run: RunRef) -> None:
        found = self._found(run)
        if found is not None and run_status(found[1]).phase not in _OVER and not _ending(found[1]):
            self._keep_log(found[0], run)
            self._delete(found[0])

    def logs(self, run: RunRef, follow: bool = False) -> Iterator[str]:
        found = self._found(run)
        if found is None:
            return self._kept_log(run)
        place = found[0]
        if follow:
            run = replace(run, backend_id=str(place))
            pods = partial(self._finder.pods, place.namespace, run)
            return pod_logs.followed(self._api, pods, partial(self._over, run))
        written = self._finder.pods(place.namespace, run)
        return pod_logs.lines(self._api, written) if written else self._kept_log(run)

    # --- starting

    def _values(self, launch: Launch) -> tuple[dict[str, str], tuple[str, ...]]:
        """Secrets by variable, and a warning for each that is set nowhere. A run need not talk to W&B."""
        if self._cluster.secret is not None:
            return {}, ()
        found = {name: self._secrets.get(reference) for name, reference in sorted(launch.secrets.items())}
        missing = [name for name, value in found.items() if value is None and name != "WANDB_API_KEY"]
        values = {name: value for name, value in found.items() if value is not None}
        check_size(values)
        return values, tuple(f"{name} has no value in this deployment, so the run does not get it" for name in missing)

    def _adopted(self, path: str, run: RunRef, services: Sequence[Body], values: Mapping[str, str]) -> RunStatus:
        """Ours where an earlier call of `start` took effect, although nobody heard of it."""
        with _known_to_be_there():
            body = self._looked_at(path)
            if body is None:
                raise Temporary(f"{path} was there a moment ago, and is gone now", retry_after=5.0)
            if not is_of(body, run):
                cure = "Leave metadata.name out of the queue's config, or put ${run_id} in it"
                raise AlreadyExists(f"a {body.get('kind')} named {_named(body)} exists and is not this run's. {cure}")
            place = Place(path, body["metadata"]["uid"])
            status = self._telling.told(place, body, run)
        if status.phase not in _OVER:
            if _ending(body):
                raise Refused(f"{path} of an earlier start is being removed", retry_after=10.0)
            self._completed(place, body, run, services, values)
        return replace(status, backend_id=str(place))

    def _completed(
        self, place: Place, made: Body, run: RunRef, services: Sequence[Body], values: Mapping[str, str]
    ) -> bool:
        """Makes what belongs to the run; ends the run again where the cluster does not take that. False where there was
        a Secret of that name before."""
        try:
            for index, service in enumerate(services):
                field = f"additional_services[{index}].config"
                make_service(self._api, self._kinds, run, service, made, field)
            return not values or make_secret(self._api, run, place.namespace, values, made)
        except (Permanent, Refused) as error:
            try:
                self._delete(place)
            except Temporary as trouble:
                # The run is there, and "nothing was started" would be wrong.
                raise Temporary(error.message) from trouble
            raise

    # --- looking

    def _found(self, run: RunRef) -> tuple[Place, Body] | None:
        """Where it is, and its object. Where no place is known, `start` has not come to an end: it is looked for."""
        if run.backend_id is None:
            return next(iter(self._finder.objects(selector_of(run))), None)
        place = Place.of(run.backend_id)
        body = self._looked_at(place.path)
        return (place, body) if body is not None and body["metadata"]["uid"] == place.uid else None

    def _looked_at(self, path: str) -> Body | None:
        try:
            return self._api.get(path, f"look at {path}")
        except NotFound:
            return None

    def _over(self, run: RunRef) -> bool:
        found = self._found(run)
        return found is None or run_status(found[1]).phase in _OVER

    # --- ending

    def _delete(self, place: Place) -> None:
        """In the foreground: it is gone when its pods are. Only this very object, and not a later one of its name."""
        with suppress(NotFound):
            preconditions = {"uid": place.uid}
            self._api.delete(
                place.path, f"stop {place.path}", propagationPolicy="Foreground", preconditions=preconditions
            )

    def _keep_log(self, place: Place, run: RunRef) -> None:
        """That a log cannot be kept is no reason not to say how the run ended."""
        if self._archive is not None:
            with suppress(Permanent, Temporary):
                if pods := self._finder.pods(place.namespace, run):
                    self._archive.put(_log_key(run), pod_logs.ending(self._api, pods))

    def _kept_log(self, run: RunRef) -> Iterator[str]:
        kept = None if self._archive is None else self._archive.get(_log_key(run))
        return iter(() if kept is None else kept.decode(errors="replace").splitlines())


@contextmanager
def _known_to_be_there() -> Iterator[None]:
    """ "Not now" is said of what was not begun. To look at what is there already may fail, and no more."""
    try:
        yield
    except Refused as refusal:
        raise Temporary(refusal.message, refusal.retry_after) from refusal


def _log_key(run: RunRef) -> str:
    return f"logs/{run.name}.log"


def _named(body: Body) -> str:
    return f"{body['metadata']['namespace']}/{body['metadata']['name']}"


def _ending(body: Body) -> bool:
    return body["metadata"].get("deletionTimestamp") is not None


def _missing_namespace(body: Body, error: NotFound) -> Invalid:
    namespace = body["metadata"]["namespace"]
    fix = f"Make it (`kubectl create namespace {namespace}`), or name another as metadata.namespace."
    return Invalid(Problem("resource_args.metadata.namespace", f"is not there ({error.message})", namespace, fix))
