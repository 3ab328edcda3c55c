"""A launch as the tests of the renderers give it, and manifests of any shape with pods in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from slipway.model import Launch, RunRef

PLAIN = Launch(
    run=RunRef("item7", 1),
    run_id="run7",
    image="registry.example.com/team/train:1",
    entry_point=("python", "train.py"),
    args=(),
    env={"WANDB_RUN_ID": "run7", "WANDB_PROJECT": "digits", "SLIPWAY_ITEM": "item7"},
    secrets={"WANDB_API_KEY": "WANDB_API_KEY"},
    resource_args={},
    entity="team",
    project="digits",
    run_name="a run",
    overriding=False,
)

CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
_contexts = st.fixed_dictionaries(
    {},
    optional={
        "privileged": st.booleans(),
        "allowPrivilegeEscalation": st.booleans(),
        "runAsUser": st.integers(0, 9),
        "capabilities": st.fixed_dictionaries(
            {}, optional={"drop": st.just(["KILL"]), "add": st.lists(st.sampled_from(["NET_ADMIN", "CAP_SYS_ADMIN"]))}
        ),
        "seccompProfile": st.just({"type": "Localhost", "localhostProfile": "x.json"}),
    },
)
_variables = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from(["A", "WANDB_RUN_ID", "WANDB_API_KEY", "LR"]), "value": st.text(max_size=4)}
    ),
    max_size=3,
)
_containers = st.fixed_dictionaries(
    {},
    optional={
        "name": st.just("main"),
        "image": st.just("own:1"),
        "command": st.lists(st.text(max_size=5), min_size=1, max_size=2),
        "args": st.lists(st.text(max_size=5), max_size=2),
        "env": _variables,
        "securityContext": _contexts,
    },
)
_lists = st.lists(_containers, min_size=1, max_size=2)
pod_specs = st.fixed_dictionaries({"containers": _lists}, optional=dict.fromkeys(CONTAINERS[1:], _lists))
_words = st.sampled_from(["spec", "template", "jobTemplate", "tasks", "Master", "replicatedJobs", "x"])
nested = st.recursive(
    pod_specs | st.builds(lambda spec: {"spec": spec}, pod_specs) | st.integers(),
    lambda inner: st.dictionaries(_words, inner, max_size=3) | st.lists(inner, max_size=2),
    max_leaves=5,
)


@st.composite
def _of_a_kind(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(
        st.sampled_from(
            [
                {},
                {"apiVersion": "batch/v1", "kind": "CronJob"},
                {"apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob"},
                {"apiVersion": "batch.volcano.sh/v1alpha1", "kind": "Job"},
                {"apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet"},
            ]
        )
    )
    spec = draw(st.dictionaries(_words.filter(lambda word: word != "template"), nested, max_size=3))
    if not kind and draw(st.booleans()):
        spec["template"] = {"spec": draw(pod_specs)}
    return {**kind, "spec": spec}


manifests = _of_a_kind()
"""Queue configs of every kind, with pods in random places."""


def launched(**changes: Any) -> Launch:
    return replace(PLAIN, **changes)


def containers_in(value: Any) -> Iterator[dict[str, Any]]:
    """Every container of a manifest, found by this file's own rule: an element of a list of that name."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in CONTAINERS and isinstance(inner, list):
                yield from (each for each in inner if isinstance(each, dict))
            yield from containers_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from containers_in(inner)
