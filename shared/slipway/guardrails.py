"""What a submitter may not put into resource args, whatever the queue opens. Data, then the few lines that read it.

It holds for a submission's overrides only. A queue's own config, and so its owner, is not limited; what the owner opens
to submitters (`overridable_fields`) stays within these rules.

The rules are those of W&B's agent (its policy for untrusted resource args). Ours are those for secrets, for what a run
may do in a cloud, and for the environment: a variable without a value would be read from the launching machine, and
WANDB_ and SLIPWAY_ variables say who a run is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from slipway.documents import is_number, join
from slipway.errors import Problem
from slipway.model import Json

DOCKER_OPTIONS = frozenset(
    (
        *("command", "cpu", "cpu-period", "cpu-quota", "cpu-shares", "cpus", "cpuset-cpus", "cpuset-mems"),
        *("m", "memory", "memory-reservation", "memory-swap", "shm-size", "pids-limit", "ulimit", "gpus"),
        *("e", "env", "name", "platform", "w", "workdir"),
    )
)
"""All that a submitter may set of `docker run`'s options."""
DOCKER_LISTS = frozenset({"e", "env", "ulimit"})
"""Those that may be repeated."""

KUBERNETES_PRESENT = {
    "securityContext": "Slipway manages the security context of pods and containers",
    "hostPath": "it mounts the node's own disk",
    "serviceAccountToken": "it mounts a token of the cluster",
    "secretKeyRef": "it reads a Secret of the namespace",
    "secretRef": "it reads a Secret of the namespace",
    "secretName": "it reads a Secret of the namespace",
    "secret": "it reads a Secret of the namespace",
    "nodePublishSecretRef": "it reads a Secret of the namespace",
    "podSpecPatch": "it is text that changes pods, and what it says is not looked at",
    "manifest": "it is text that makes objects, and what it says is not looked at",
    "manifestFrom": "it makes objects that are not looked at",
}
"""Field → reason: refused with any value. The last three are Argo's."""
KUBERNETES_TRUE = {
    "hostPID": "it shares the node's processes",
    "hostIPC": "it shares the node's memory",
    "hostNetwork": "it shares the node's network",
    "hostUsers": "it shares the node's users",
    "hostPort": "it opens a port of the node",
    "shareProcessNamespace": "containers of a pod would see each other's processes",
    "automountServiceAccountToken": "it mounts a token of the cluster",
    "serviceAccountName": "it decides what the run may do in the cluster",
    "serviceAccount": "it decides what the run may do in the cluster",
}
"""Field → reason: refused with any value but false, 0, "" and null."""
SERVICES = frozenset(
    (
        *("Pod", "Deployment", "ReplicaSet", "StatefulSet", "Job", "Service", "ConfigMap"),
        *("PersistentVolumeClaim", "NetworkPolicy"),
    )
)
"""Kinds of the manifests that a submitter may bring: none that grants rights, holds secrets or changes the cluster."""
KUBERNETES_LOCKED = {
    "command": "the queue is in secure mode",
    "initContainers": "the queue is in secure mode",
    "script": "the queue is in secure mode",
}
"""Field → reason: refused where the queue is in secure mode."""
SAGEMAKER = {
    "RoleArn": "it decides what the run may do in the account",
    "VpcConfig": "it decides which network the run is in",
    "RemoteDebugConfig": "it opens a shell in the run",
}
"""Field → reason: refused with any value, in either spelling (role_arn)."""
VERTEX = {
    "service_account": "it decides what the run may do in the project",
    "network": "it decides which network the run is in",
    "enable_web_access": "it opens a shell in the run",
}
"""Field → reason: refused with any value, in either spelling (serviceAccount)."""

RESERVED = ("WANDB_", "SLIPWAY_")

_OWNER = "Ask the queue's owner to set it in the queue's config."


def check(resource: str, overrides: Mapping[str, Json], *, secure: bool = False) -> list[Problem]:
    """The overrides that a submitter may not make, wherever they stand. `secure`: the queue is in secure mode, and its
    submitters choose no command either."""
    return list(_RULES.get(resource, _nothing)(overrides, secure))


def check_manifest(manifest: Mapping[str, Json], path: str, *, secure: bool = False) -> list[Problem]:
    """The same of a whole Kubernetes manifest that a submitter brings, and of its kind."""
    problems = list(_manifest(manifest, path, secure))
    kind = manifest.get("kind")
    if kind not in sorted(SERVICES):
        fix = f"A submitter may bring: {', '.join(sorted(SERVICES))}."
        problems.append(Problem(f"{path}.kind", "is not a kind that a submitter may bring", kind, fix))
    return problems


def noteworthy(resource: str, config: Mapping[str, Json]) -> list[tuple[str, str]]:
    """Fields of a queue's own config that a submitter could not set: where, and why not. For whoever reviews it."""
    if resource == "local-container":
        named = [(join("resource_args", key), option_name(key)) for key in config]
        return [(path, f"no submitter may set docker's '{name}'") for path, name in named if name not in DOCKER_OPTIONS]
    found = _RULES.get(resource, _nothing)(config, secure=False)
    return [(problem.field, problem.rule) for problem in found]


def option_name(key: str) -> str:
    """A `docker run` option as it is compared: `--SHM_SIZE` is `shm-size`."""
    return key.strip().lstrip("-").replace("_", "-").lower()


def _docker(overrides: Mapping[str, Json], secure: bool) -> Iterator[Problem]:
    for key, value in overrides.items():
        name, path = option_name(key), join("resource_args", key)
        if name not in DOCKER_OPTIONS:
            fix = f"{_OWNER} Submitters may set: {', '.join(sorted(DOCKER_OPTIONS))}."
            yield Problem(path, f"a submitter may not set docker's '{name}'", fix=fix)
        elif secure and name == "command":
            yield Problem(path, f"a submitter may not set {key}: {KUBERNETES_LOCKED['command']}", fix=_OWNER)
        elif name in ("e", "env"):
            yield from _environment(path, value)
        elif name in DOCKER_LISTS and isinstance(value, list):
            if not value or not all(_single(each) for each in value):
                yield Problem(path, "must be a list, not empty, of texts or numbers")
        elif not _single(value):
            yield Problem(path, "must be one text or number")


def _process(overrides: Mapping[str, Json], secure: bool) -> Iterator[Problem]:
    for key, value in overrides.items():
        path = join("resource_args", key)
        if key == "env":
            yield from _environment(path, value)
        else:
            yield Problem(path, "a submitter may set env only", fix=_OWNER)


def _environment(path: str, value: Json) -> Iterator[Problem]:
    """`{NAME: value}`, `NAME=value`, or a list of the latter. Problems leave the values out: they may be secret."""
    if isinstance(value, Mapping):
        entries = [(join(path, name), name, _single(each)) for name, each in value.items()]
    elif isinstance(value, list) and value:
        entries = [(f"{path}[{index}]", *_assignment(each)) for index, each in enumerate(value)]
    else:
        entries = [(path, *_assignment(value))]
    for where, name, complete in entries:
        if name.strip().upper().startswith(RESERVED):
            yield Problem(where, "a submitter may not set WANDB_ and SLIPWAY_ variables", name, _OWNER)
        elif not complete:
            fix = "A name alone would be read from the launching machine."
            yield Problem(where, "must be NAME=value, or NAME: value with a text or number", fix=fix)


def _assignment(entry: Json) -> tuple[str, bool]:
    name, equals, _ = entry.partition("=") if isinstance(entry, str) else ("", "", "")
    return name, bool(name.strip() and equals)


def _single(value: Json) -> bool:
    return isinstance(value, str) or is_number(value)


def _kubernetes(overrides: Mapping[str, Json], secure: bool) -> Iterator[Problem]:
    yield from _manifest(overrides, "resource_args", secure)


def _manifest(value: Json, path: str, secure: bool) -> Iterator[Problem]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            where = join(path, key)
            if reason := _refusal(key, inner, secure):
                yield Problem(where, f"a submitter may not set {key}: {reason}", fix=_OWNER)
            else:
                yield from _reserved(inner, where) if _plain(key) == "env" and isinstance(inner, list) else ()
                yield from _manifest(inner, where, secure)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _manifest(inner, f"{path}[{index}]", secure)


def _reserved(env: list[Json], path: str) -> Iterator[Problem]:
    for index, entry in enumerate(env):
        name = entry.get("name") if isinstance(entry, Mapping) else None
        if isinstance(name, str) and name.strip().upper().startswith(RESERVED):
            where = f"{path}[{index}].name"
            yield Problem(where, "a submitter may not set WANDB_ and SLIPWAY_ variables", name, _OWNER)


def _refusal(key: str, value: Json, secure: bool) -> str | None:
    word = _plain(key)
    if word in _PRESENT or (word in _TRUE and value):
        return _PRESENT.get(word) or _TRUE.get(word)
    if secure and word in _LOCKED:
        return _LOCKED[word]
    if word == "resource" and isinstance(value, Mapping) and "action" in map(_plain, value):
        # Argo's: what it acts on may be in the options that it gives kubectl.
        return "it makes, changes or deletes objects of the cluster"
    if word == "mountpropagation" and str(value).strip().lower() == "bidirectional":
        return "what the run mounts would appear on the node"
    if ("apparmor" in word or "seccomp" in word) and "unconfined" in str(value).lower():
        return "it takes the container's confinement away"
    return None


def _sagemaker(overrides: Mapping[str, Json], secure: bool) -> Iterator[Problem]:
    yield from _fields(overrides, {**_SAGEMAKER, **(_SAGEMAKER_LOCKED if secure else {})}, "resource_args")
    for key, value in overrides.items():
        if _plain(key) == "environment" and isinstance(value, Mapping):
            yield from _environment(join("resource_args", key), value)


def _vertex(overrides: Mapping[str, Json], secure: bool) -> Iterator[Problem]:
    yield from _fields(overrides, {**_VERTEX, **(_VERTEX_LOCKED if secure else {})}, "resource_args")
    for env, path in _lists(overrides, "env", "resource_args"):
        yield from _reserved(env, path)


def _fields(value: Json, refused: Mapping[str, str], path: str) -> Iterator[Problem]:
    """The refused fields at any depth: vendors nest the same word in several places."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            where = join(path, key)
            if reason := refused.get(_plain(key)):
                yield Problem(where, f"a submitter may not set {key}: {reason}", fix=_OWNER)
            else:
                yield from _fields(inner, refused, where)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _fields(inner, refused, f"{path}[{index}]")


def _lists(value: Json, word: str, path: str) -> Iterator[tuple[list[Json], str]]:
    """Every list under that key, at any depth."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            where = join(path, key)
            if _plain(key) == word and isinstance(inner, list):
                yield inner, where
            yield from _lists(inner, word, where)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _lists(inner, word, f"{path}[{index}]")


def _plain(key: str) -> str:
    """`security_context`, as Kubernetes' Python client spells it, and `securitycontext` are `securityContext` here."""
    return key.strip().replace("_", "").lower()


def _nothing(overrides: Mapping[str, Json], secure: bool) -> Iterator[Problem]:
    return iter(())


_PRESENT = {_plain(field): reason for field, reason in KUBERNETES_PRESENT.items()}
_TRUE = {_plain(field): reason for field, reason in KUBERNETES_TRUE.items()}
_LOCKED = {_plain(field): reason for field, reason in KUBERNETES_LOCKED.items()}
_SAGEMAKER = {_plain(field): reason for field, reason in SAGEMAKER.items()}
_VERTEX = {_plain(field): reason for field, reason in VERTEX.items()}
_SAGEMAKER_LOCKED = {"containerentrypoint": KUBERNETES_LOCKED["command"]}
_VERTEX_LOCKED = {"command": KUBERNETES_LOCKED["command"]}


class _Rule(Protocol):
    def __call__(self, overrides: Mapping[str, Json], secure: bool) -> Iterator[Problem]: ...


_RULES: Mapping[str, _Rule] = {
    "local-container": _docker,
    "local-process": _process,
    "kubernetes": _kubernetes,
    "sagemaker": _sagemaker,
    "gcp-vertex": _vertex,
}
