"""What Slipway must be allowed to do in a namespace of runs, and what of it a cluster does not allow.

The cluster is asked, and nothing is tried. docs/kubernetes.md shows the same rights as a Role.
https://kubernetes.io/docs/reference/access-authn-authz/authorization/#checking-api-access
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from slipway.adapters.kubernetes.api import Api
from slipway.adapters.kubernetes.kinds import Kind

RUNS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("batch", "jobs"): ("create", "get", "list", "delete", "watch"),
    ("", "pods"): ("list", "watch"),
    ("", "pods/log"): ("get",),
    ("", "events"): ("list",),
    ("", "secrets"): ("create",),
}
"""(API group, resource) → verbs, for runs that are Jobs."""
_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


DISPENSABLE = frozenset({("events", "list"), ("jobs", "watch"), ("pods", "watch")})
"""Without these less is told, or later."""
OF_A_KIND = ("create", "get", "list", "delete", "watch")


def missing(api: Api, namespace: str, kinds: Iterable[Kind] = (), *, secrets: bool = True) -> Sequence[str]:
    """The rules that a Role in this namespace lacks, each ready to be pasted. `kinds` are what its queues start beside
    Jobs; `secrets`: runs get Secrets of their own."""
    needed = {key: verbs for key, verbs in RUNS.items() if secrets or key[1] != "secrets"}
    needed |= {(kind.api_version.rpartition("/")[0], kind.plural): OF_A_KIND for kind in kinds}
    found = []
    for (group, resource), verbs in needed.items():
        lacking = [
            verb
            for verb in verbs
            if (resource, verb) not in DISPENSABLE and not _allowed(api, namespace, group, resource, verb)
        ]
        if lacking:
            words = ", ".join(f'"{verb}"' for verb in lacking)
            found.append(f'{{apiGroups: ["{group}"], resources: ["{resource}"], verbs: [{words}]}}')
    return found


def version(api: Api) -> str:
    """`v1.34.1`."""
    return str(api.get("/version", "ask the API server for its version").get("gitVersion"))


def _allowed(api: Api, namespace: str, group: str, resource: str, verb: str) -> bool:
    name, _, part = resource.partition("/")
    what = {"namespace": namespace, "group": group, "resource": name, "subresource": part, "verb": verb}
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {key: value for key, value in what.items() if value}},
    }
    answer = api.create(_REVIEWS, body, f"ask whether we may {verb} {resource} in namespace {namespace}")
    return bool((answer.get("status") or {}).get("allowed"))
