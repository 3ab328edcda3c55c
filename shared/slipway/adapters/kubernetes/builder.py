"""Images made in the cluster, by Kaniko or by buildah: a Job per build, and nothing that runs between builds.

Names do what a lock would: of all who start the same build one makes its Job, and the others find it (409, then a
look). What a build needs beside its Job is made after it, so a start that died in between is completed by the next.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from slipway.adapters.kubernetes import build_jobs as jobs
from slipway.adapters.kubernetes.api import Api
from slipway.adapters.kubernetes.build_status import build_status, over, succeeded
from slipway.adapters.kubernetes.contexts import Contexts, pack
from slipway.adapters.kubernetes.kinds import CONFIG_MAP, EVENT, JOB, POD, SECRET, Kind
from slipway.errors import AlreadyExists, Invalid, Permanent, Problem, Temporary
from slipway.model import Build, BuildPhase, BuildRequest, BuildStatus
from slipway.ports import Registry
from slipway.reference import not_a_reference
from slipway.registries import destination as taken_apart
from slipway.render.build_job import AUTH_KEY, CONTEXT_KEY, Flavour, Place
from slipway.status import pods as words

TAIL = 50
"""Lines of a failed build's log that are kept with the item."""
TAIL_BYTES = 64 * 1024
"""How much of a log they may be: a line has no limit of its own."""
Body = Mapping[str, Any]


class ClusterBuilder:
    """Safe for use by several threads. `flavour` says what builds: `render.kaniko.FLAVOUR` or `render.buildah.FLAVOUR`.

    `contexts` gives where pods read their contexts, of a queue's `build-context-store`; of None the deployment's own,
    and it raises Invalid where there is none. `destination` the repository that images are pushed to, as
    `registry.example.com/team/jobs`, and `registry` answers for it; the login that it hands out goes to each build in a
    Secret, where neither the place nor the queue names one.
    """

    cache_mounts = False
    """A pod's cache ends with it."""

    def __init__(
        self,
        api: Api,
        flavour: Flavour,
        *,
        contexts: Callable[[str | None], Contexts],
        place: Place,
        destination: str,
        registry: Registry,
    ) -> None:
        self._api = api
        self._flavour = flavour
        self._contexts = contexts
        self._place = place
        self._destination = taken_apart(destination)
        self._registry = registry

    def image(self, name: str, tag: str) -> str:
        return f"{self._destination.address}:{tag}"

    def registry(self) -> Registry:
        return self._registry

    def start(self, request: BuildRequest) -> BuildStatus:
        """As `Builder.start`. The context is in its place before it returns. Raises Refused, besides when a quota is
        used up, when the context cannot be packed for lack of room; Invalid for a fragment that the cluster does not
        take, with every field that it names."""
        problems = list(_problems(request))
        if problems:
            raise Invalid(problems)
        job = self._find(self._namespace(request), request.image, request.attempt)
        if job is None:
            return build_status(self._create(request), self._flavour)
        if not over(job):
            self._complete(job, request, self._values(job, request))
        return self._judged(job)

    def status(self, build: Build) -> BuildStatus:
        """ABSENT too where a start is not known to have come to its end (there is no `build_id`) and no pod has begun:
        the Job may wait for a Secret that nobody made, and starting it again makes what is missing."""
        job = self._known(build)
        status = BuildStatus(BuildPhase.ABSENT) if job is None else self._judged(job)
        unfinished = build.build_id is None and status.phase is BuildPhase.QUEUED
        return BuildStatus(BuildPhase.ABSENT) if unfinished else status

    def logs(self, build: Build) -> Iterator[str]:
        """What the builder said, line by line; nothing of a build that has not begun, or whose pod is gone."""
        job = self._known(build)
        pods = [] if job is None else self._pods(job)
        if job is not None and words.begun(pods):
            yield from self._log(job, pods[-1])

    # --- finding

    def _namespace(self, request: BuildRequest) -> str:
        given = (request.config.get(self._flavour.fragment) or {}).get("metadata") or {}
        return str(given.get("namespace") or self._place.namespace)

    def _known(self, build: Build) -> Body | None:
        namespace, named, _ = (build.build_id or "").partition("/")
        return self._find(namespace if named else self._place.namespace, build.image, build.attempt)

    def _find(self, namespace: str, image: str, attempt: int) -> Body | None:
        """By its labels: the queue may have begun its name otherwise."""
        doing = f"look for the build of {image} in the namespace {namespace}"
        found = list(self._api.items(JOB.collection(namespace), doing, labelSelector=jobs.selector(image, attempt)))
        return min(found, key=_age) if found else None

    # --- starting

    def _create(self, request: BuildRequest) -> Body:
        with tempfile.TemporaryDirectory(prefix="slipway-build-") as folder:
            packed = Path(folder, "context.tar.gz")
            key = pack(Path(request.context), request.dockerfile, packed)
            job = self._job(request, key)
            self._contexts_of(request).put(key, packed)
        # Known before there is a Job: a pod that looks for its Secret and finds none looks again ever more rarely.
        values = self._values(job, request)
        made = self._post(job, request)
        self._complete(made, request, values)
        return made

    def _post(self, job: Body, request: BuildRequest) -> Body:
        """The Job, as the cluster has it: of this start, or of another that was quicker."""
        namespace, name = job["metadata"]["namespace"], job["metadata"]["name"]
        doing = f"start the build {namespace}/{name}"
        try:
            return self._api.create(JOB.collection(namespace), job, doing, field=f"builder.{self._flavour.fragment}")
        except AlreadyExists as taken:
            found = self._api.get(JOB.path(namespace, name), doing)
            if not jobs.is_of(found, request.image, request.attempt):
                cure = "Remove it, or let builder.build-job-name begin the names of builds otherwise"
                raise AlreadyExists(f"the Job {namespace}/{name} exists and is not this build's. {cure}") from taken
            return found

    def _job(self, request: BuildRequest, key: str) -> dict[str, Any]:
        name = jobs.name_of(request.config, request.image, request.attempt)
        login = self._registry.login(request.image) is not None
        contexts = self._contexts_of(request)
        place = jobs.place_of(replace(self._place, claim=contexts.claim), request.config, name, login=login)
        return jobs.job_of(self._flavour, request, place, address=contexts.address(key), key=key)

    def _contexts_of(self, request: BuildRequest) -> Contexts:
        return self._contexts(request.config.get("build-context-store"))

    def _values(self, job: Body, request: BuildRequest) -> Mapping[str, str]:
        return {key: self._value(key, job, request) for key in jobs.secret_keys(job)}

    def _complete(self, job: Body, request: BuildRequest, values: Mapping[str, str]) -> None:
        """Makes what the Job mounts and is not there, of this start or of one that died."""
        if values:
            self._make(SECRET, jobs.secret_of(job, values), job, request)
        own = jobs.place_of(self._place, request.config, job["metadata"]["name"], login=AUTH_KEY in values)
        for body in self._flavour.beside(job["metadata"]["name"], request.config, own, self._destination.host):
            self._make(CONFIG_MAP, jobs.owned(body, job), job, request)

    def _value(self, key: str, job: Body, request: BuildRequest) -> str:
        if key == CONTEXT_KEY:
            right = self._contexts_of(request).right(job["metadata"]["annotations"][jobs.CONTEXT])
            return jobs.curl_config(right or "")
        return jobs.docker_config(self._destination.host, self._registry.login(request.image))

    def _make(self, kind: Kind, body: Body, job: Body, request: BuildRequest) -> None:
        namespace, name = body["metadata"]["namespace"], body["metadata"]["name"]
        doing = f"make the {body['kind']} {namespace}/{name} of a build"
        try:
            self._api.create(kind.collection(namespace), body, doing)
        except AlreadyExists as taken:
            found = self._api.get(kind.path(namespace, name), doing)
            if jobs.is_owned(found, job):
                return
            if jobs.is_of(found, request.image, request.attempt):
                raise Temporary(f"cannot {doing}: the one of an earlier build is about to be removed") from taken
            raise AlreadyExists(
                f"the {body['kind']} {namespace}/{name} exists and is not this build's. Remove it"
            ) from taken
        except Invalid:
            # What the server says of a Secret that it refuses may quote it.
            raise Permanent(f"cannot {doing}: the cluster does not take it") from None

    # --- judging

    def _judged(self, job: Body) -> BuildStatus:
        if succeeded(job):
            return build_status(job, self._flavour)
        pods = self._pods(job)
        begun = words.begun(pods)
        if over(job):
            return build_status(job, self._flavour, pods, tail=self._tail(job, pods[-1]) if begun else ())
        return build_status(job, self._flavour, pods, events=() if begun else self._events(job, pods))

    def _pods(self, job: Body) -> Sequence[Body]:
        """The oldest first."""
        namespace = job["metadata"]["namespace"]
        labels = job["metadata"]["labels"]
        of_this = ",".join(f"{name}={labels[name]}" for name in (jobs.IMAGE_LABEL, jobs.ATTEMPT_LABEL))
        doing = f"list the pods of the build {namespace}/{job['metadata']['name']}"
        return sorted(self._api.items(POD.collection(namespace), doing, labelSelector=of_this), key=_age)

    def _events(self, job: Body, pods: Sequence[Body]) -> Sequence[Body]:
        about = (pods[-1] if pods else job)["metadata"]
        doing = f"list the events of the build {about['namespace']}/{about['name']}"
        which = f"involvedObject.uid={about['uid']}"
        return list(self._api.items(EVENT.collection(about["namespace"]), doing, fieldSelector=which))

    def _tail(self, job: Body, pod: Body) -> Sequence[str]:
        """A log that cannot be read says so itself: that the build failed is told all the same."""
        try:
            return list(self._log(job, pod, tailLines=str(TAIL), limitBytes=str(TAIL_BYTES)))
        except (Permanent, Temporary) as error:
            return [error.message]

    def _log(self, job: Body, pod: Body, **query: str) -> Iterator[str]:
        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        container = job["spec"]["template"]["spec"]["containers"][0]["name"]
        path = f"{POD.path(namespace, name)}/log"
        with self._api.stream(
            path, f"read the log of the build's pod {namespace}/{name}", silence=30.0, container=container, **query
        ) as lines:
            for line in lines:
                yield line.decode(errors="replace").rstrip("\r")


def _age(body: Body) -> str:
    return str(body["metadata"].get("creationTimestamp") or "")


def _problems(request: BuildRequest) -> Iterator[Problem]:
    if rule := not_a_reference(request.image):
        yield Problem("image", rule, request.image)
    if not request.dockerfile.strip():
        yield Problem("dockerfile", "is empty, and a build in a cluster needs one")
    for name in request.build_args:
        if not name or "=" in name:
            yield Problem("build_args", "a name is not empty and holds no '='", name)
