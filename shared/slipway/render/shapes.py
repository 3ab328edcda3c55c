"""Whether a manifest is one that can be rendered: what this package reads of it has the shape that it is read in.

What else a manifest needs, its API server knows. Every mistake is told, each with its path.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from slipway.documents import join
from slipway.errors import Problem
from slipway.render import pods
from slipway.views import masked

Problems = Iterator[Problem]


def of_any(manifest: Mapping[str, Any], path: str) -> Problems:
    """Of an object of any kind: its own metadata, and every pod in it."""
    for field in ("apiVersion", "kind"):
        yield from _expected(manifest, field, str, "text", path)
    yield from _expected(manifest, "spec", dict, "a mapping", path)
    yield from _metadata(manifest, path)
    yield from _pods(manifest, path, known=True)
    if (spec := pods.workflow(manifest)) is not None:
        where = f"{path}.spec.workflowSpec" if manifest.get("kind") == "CronWorkflow" else f"{path}.spec"
        yield from _metadata(spec, where, "podMetadata")
        yield from _expected(spec, "securityContext", dict, "a mapping", where)
        yield from _templates(spec, where)


def of_run(args: Mapping[str, Any], path: str) -> Problems:
    """What a queue's config must be besides: a Job, or an object of a kind that is named."""
    yield from _expected(args, "namespace", str, "text", path)
    kind, version = args.get("kind"), args.get("apiVersion")
    if version and not kind and str(version).partition("/")[0] != "batch":
        yield Problem(f"{path}.kind", "is missing", fix="Name the kind of the object, for example PyTorchJob.")
    if kind and not version and kind not in ("Job", "CronJob"):
        fix = f"Name the group and version of a {kind}, for example kubeflow.org/v1."
        yield Problem(f"{path}.apiVersion", "is missing", fix=fix)
    spec = args.get("spec")
    if kind in (None, "", "Job") and isinstance(spec, dict):
        yield from _expected(spec, "template", dict, "a mapping", f"{path}.spec")
        if isinstance(template := spec.get("template"), dict):
            yield from _expected(template, "spec", dict, "a mapping", f"{path}.spec.template")
            if not pods.is_template(template):
                yield from _metadata(template, f"{path}.spec.template")


def _pods(value: Any, path: str, *, known: bool = False) -> Problems:
    """`known`: the metadata of this mapping is read already."""
    if isinstance(value, dict):
        if not known and pods.is_template(value):
            yield from _metadata(value, path)
        if any(kind in value for kind in pods.CONTAINERS):
            yield from _expected(value, "securityContext", dict, "a mapping", path)
            yield from _expected(value, "volumes", list, "a list", path)
        for key, inner in value.items():
            where = join(path, key)
            yield from _containers(inner, where) if key in pods.CONTAINERS else _pods(inner, where)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _pods(inner, f"{path}[{index}]")


def _templates(value: Any, path: str) -> Problems:
    """Of a Workflow of Argo's."""
    if isinstance(value, dict):
        if pods.is_workflow_template(value):
            yield from _metadata(value, path)
            if not any(kind in value for kind in pods.CONTAINERS):
                yield from _expected(value, "securityContext", dict, "a mapping", path)
            yield from _expected(value, "sidecars", list, "a list", path)
            for kind in pods.SINGLE:
                if isinstance(value.get(kind), dict):
                    yield from _container(value[kind], join(path, kind))
        for key, inner in value.items():
            yield from _templates(inner, join(path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _templates(inner, f"{path}[{index}]")


def _metadata(value: Mapping[str, Any], path: str, field: str = "metadata") -> Problems:
    yield from _expected(value, field, dict, "a mapping", path)
    metadata = value.get(field)
    if isinstance(metadata, dict):
        yield from _expected(metadata, "labels", dict, "a mapping", f"{path}.{field}")
        for name in ("name", "namespace"):
            yield from _expected(metadata, name, str, "text", f"{path}.{field}")


def _containers(value: Any, path: str) -> Problems:
    if value is None:
        return
    if not isinstance(value, list) or not value:
        yield Problem(path, "must be a list of containers", value, "Leave it out for one with the run's own image.")
        return
    for index, container in enumerate(value):
        if isinstance(container, dict):
            yield from _container(container, f"{path}[{index}]")
        else:
            yield Problem(f"{path}[{index}]", "must be a mapping", container)


def _container(container: Mapping[str, Any], path: str) -> Problems:
    for field in ("name", "image"):
        yield from _expected(container, field, str, "text", path)
    for field in ("command", "args"):
        words = container.get(field)
        if words is not None and not (isinstance(words, list) and all(isinstance(word, str) for word in words)):
            yield Problem(f"{path}.{field}", "must be a list of texts", words, "Write ['python', 'train.py'].")
    yield from _expected(container, "volumeMounts", list, "a list", path)
    yield from _expected(container, "securityContext", dict, "a mapping", path)
    if isinstance(context := container.get("securityContext"), dict):
        yield from _expected(context, "capabilities", dict, "a mapping", f"{path}.securityContext")
    env = container.get("env")
    if env is not None and not isinstance(env, list):
        # Without the value, in which people keep passwords.
        yield Problem(f"{path}.env", "must be a list of {name, value}", fix="Write [{name: NAME, value: 'text'}].")
    elif env is not None:
        for place, entry in enumerate(env):
            yield from _variable(entry, f"{path}.env[{place}]")


def _variable(entry: Any, path: str) -> Problems:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        yield Problem(path, "must be a mapping with a name", fix="Write {name: NAME, value: 'text'}.")
    elif entry.get("value") is not None and not isinstance(entry["value"], str):
        rule = "must be text: Kubernetes takes no number or boolean here"
        yield Problem(f"{path}.value", rule, masked(entry)["value"], "Put it in quotes.")


def _expected(value: Mapping[str, Any], field: str, kind: type, words: str, path: str) -> Problems:
    found = value.get(field)
    if found is not None and not isinstance(found, kind):
        yield Problem(join(path, field), f"must be {words}", found)
