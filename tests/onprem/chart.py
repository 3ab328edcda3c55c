"""The Helm chart as Helm itself renders it, by `tools/helm`."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from tests.services import ROOT, missing

HELM = ROOT / "tools" / "helm"
HERE = Path(__file__).parent
WANDB_VALUES, EVERYTHING = HERE / "wandb-values.yaml", HERE / "everything-values.yaml"

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Rendered:
    documents: tuple[Manifest, ...]
    text: str
    notes: str

    def of(self, kind: str) -> list[Manifest]:
        return [each for each in self.documents if each["kind"] == kind]

    def one(self, kind: str, name: str, namespace: str | None = None) -> Manifest:
        """Fails unless there is exactly one."""
        [found] = [
            each
            for each in self.of(kind)
            if each["metadata"]["name"] == name and namespace in (None, each["metadata"]["namespace"])
        ]
        return found

    def pods(self) -> Iterator[Manifest]:
        """The spec of every pod."""
        yield from (each["spec"]["template"]["spec"] for each in self.of("Deployment"))

    def environment(self) -> Mapping[str, Any]:
        """Of Slipway's container: a value, or where it comes from."""
        [container] = next(pod for pod in self.pods() if pod["containers"][0]["name"] == "slipway")["containers"]
        return {each["name"]: each.get("value", each.get("valueFrom")) for each in container["env"]}


@cache
def _engine() -> Path:
    """The first use fetches it."""
    done = subprocess.run([HELM, "--help"], capture_output=True, text=True, timeout=100, check=False)
    return HELM if done.returncode == 0 else missing("Helm's engine", f"tools/helm says: {done.stderr}")


def helm(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([_engine(), *arguments], capture_output=True, text=True, timeout=300, check=False)


def render(*files: Path, release: str = "launch", namespace: str = "ml") -> Rendered:
    options = [word for file in files for word in ("-f", file)]
    done = helm("template", release, "-n", namespace, *options)
    assert done.returncode == 0, done.stderr
    documents = tuple(each for each in yaml.safe_load_all(done.stdout) if each)
    return Rendered(documents, done.stdout, done.stderr)


def refusal(folder: Path, values: Mapping[str, Any]) -> str:
    """What Helm says of values that it takes for none."""
    file = folder / "values.yaml"
    file.write_text(yaml.safe_dump(dict(values)))
    done = helm("template", "launch", "-f", file)
    assert done.returncode == 1, done.stdout
    return done.stderr
