"""The values of W&B's Helm chart for its Launch agent: the launch-config in them, and what the other values become.

The values hold secrets (an API key, a git login, a storage key). They are known by name here, and never read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from slipway.documents import check_json
from slipway.errors import Invalid, Problem
from slipway.migration import Note, Verdict
from slipway.model import Json

CONFIG_KEYS = ("launchConfig", "agentConfig")
"""The chart's own word, and the one that W&B's documentation also has for it."""

_DIFFERS, _NONE = Verdict.DIFFERS, Verdict.NONE
_CHART = "Slipway's own chart has this value"
_MEANINGS = {
    "agent.apiKey": (_DIFFERS, "the secret WANDB_API_KEY of the deployment; the value was not read"),
    "agent": (_DIFFERS, "there is no agent. Slipway's own chart has these for its pod, and runs Slipway's image"),
    "namespace": (_DIFFERS, f"{_CHART}: where Slipway is. Where runs go is metadata.namespace in a queue's config"),
    "baseUrl": (_DIFFERS, "WANDB_BASE_URL where Slipway runs, for a W&B server other than W&B's own"),
    "additionalTargetNamespaces": (
        _DIFFERS,
        "where runs go is metadata.namespace in a queue's config; the deployment needs the right to create them there",
    ),
    "additionalEnvVars": (_DIFFERS, f"{_CHART}; elsewhere the environment of `slipway up`"),
    "additionalSecretEnvVars": (_DIFFERS, f"{_CHART}; elsewhere the environment of `slipway up`. No value was read"),
    "gitCreds": (_DIFFERS, "~/.git-credentials of the user that runs Slipway; the value was not read"),
    "sshAuthSecrets": (
        _DIFFERS,
        f"{_CHART}, and sshKnownHosts beside it; elsewhere ~/.ssh of the user that runs Slipway",
    ),
    "serviceAccount": (_DIFFERS, "the cloud identity of the deployment itself"),
    "azureStorageAccessKey": (
        _DIFFERS,
        f"{_CHART}; elsewhere AZURE_STORAGE_ACCESS_KEY where Slipway runs, or an identity; the value was not read",
    ),
    "customCABundle": (_DIFFERS, f"{_CHART}; elsewhere SSL_CERT_FILE, REQUESTS_CA_BUNDLE and AWS_CA_BUNDLE"),
    "kanikoPvcName": (_DIFFERS, f"{_CHART}; elsewhere SLIPWAY_BUILD_CONTEXTS=claim:<name>"),
    "kanikoDockerConfigSecret": (_DIFFERS, f"{_CHART}; elsewhere SLIPWAY_BUILD_DOCKER_CONFIG=<name>"),
    "volcano": (
        _NONE,
        "Volcano is installed by itself; customResources of Slipway's own chart give the right to its jobs",
    ),
}
_OTHER = (_NONE, "is no value of W&B's chart that is known here")


class HelmValues(NamedTuple):
    """What an import needs of a values file. `config` is YAML text where it stands as a literal block."""

    key: str
    config: str | Mapping[str, Json]
    notes: tuple[Note, ...]


def helm_values(document: Json) -> HelmValues | None:
    """None for a document that is no values file. Raises Invalid where its launch-config is no such thing."""
    key = next((key for key in CONFIG_KEYS if isinstance(document, Mapping) and key in document), None)
    if key is None:
        return None
    check_json(document)
    config = document[key]
    if not isinstance(config, str | Mapping):
        raise Invalid(Problem(key, "must be the text of a launch-config", config, f"Write it below `{key}: |`."))
    return HelmValues(key, config, tuple(_notes(document)))


def _notes(values: Mapping[str, Json]) -> Iterator[Note]:
    for key, value in values.items():
        if key in CONFIG_KEYS or not _says_something(value):
            continue
        if key == "agent" and isinstance(value, Mapping):
            if _says_something(value.get("apiKey")):
                yield Note("agent.apiKey", *_MEANINGS["agent.apiKey"])
            value = {name: inner for name, inner in value.items() if name != "apiKey"}
            if not _says_something(value):
                continue
        yield Note(key, *_MEANINGS.get(key, _OTHER))


def _says_something(value: Json) -> bool:
    if isinstance(value, Mapping):
        return any(_says_something(inner) for inner in value.values())
    return value is not None and value not in ("", [])
