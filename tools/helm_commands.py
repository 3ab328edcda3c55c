"""The few of Helm's commands that a chart is tested with, run by Helm's own engine (see tools/helm).

usage: tools/helm template RELEASE [CHART]     what would be installed, on standard output; its notes on standard error
       tools/helm lint
       tools/helm install RELEASE [CHART]      waits until everything is ready
       tools/helm upgrade RELEASE [CHART]
       tools/helm rollback RELEASE
       tools/helm uninstall RELEASE

CHART is onprem/chart unless given. Options are Helm's: -n NAMESPACE, -f VALUES (several go over one another),
--kubeconfig, --timeout SECONDS, --no-wait. It exits 1 with Helm's words where Helm refuses.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import helm_python as helm

CHART = Path(__file__).parents[1] / "onprem" / "chart"


def main(arguments: list[str]) -> int:
    said = _parser().parse_args(arguments)
    values: dict[str, Any] = {}
    try:
        for file in said.values:
            values = merged(values, helm.values_from_yaml(Path(file).read_text(encoding="utf-8")))
        return run(said, values)
    except (helm.HelmError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1


def run(said: argparse.Namespace, values: dict[str, Any]) -> int:
    if said.command == "lint":
        report = helm.lint(said.chart, values, strict=True, namespace=said.namespace)
        print(json.dumps(report, indent=2))
        return 1 if report["errors"] else 0
    # Rendering asks no cluster, so there is none to be found by chance.
    kubeconfig = "/dev/null" if said.command == "template" else said.kubeconfig
    with helm.Config(namespace=said.namespace, kubeconfig_path=kubeconfig) as cluster:
        match said.command:
            case "template":
                told(cluster.install(said.chart, said.release, values, namespace=said.namespace, dry_run="client"))
            case "install" | "upgrade":
                do = cluster.install if said.command == "install" else cluster.upgrade
                wait = None if said.no_wait else "watcher"
                told(do(said.chart, said.release, values, namespace=said.namespace, timeout=said.timeout, wait=wait))
            case "rollback":
                cluster.rollback(said.release, timeout=said.timeout, wait="watcher")
            case "uninstall":
                print(cluster.uninstall(said.release, timeout=said.timeout, wait="watcher")["info"])
    return 0


def told(release: dict[str, Any]) -> None:
    print(release["manifest"])
    print(release.get("notes", ""), file=sys.stderr)


def merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """As Helm merges values files: mappings key by key, anything else as a whole."""
    both = {key for key in under.keys() & over.keys() if isinstance(under[key], dict) and isinstance(over[key], dict)}
    return {**under, **over, **{key: merged(under[key], over[key]) for key in both}}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tools/helm", usage=__doc__)
    parser.add_argument("command", choices=["template", "lint", "install", "upgrade", "rollback", "uninstall"])
    parser.add_argument("release", nargs="?")
    parser.add_argument("chart", nargs="?", default=str(CHART))
    parser.add_argument("-n", "--namespace", default="default")
    parser.add_argument("-f", "--values", action="append", default=[])
    parser.add_argument("--kubeconfig")
    parser.add_argument("--timeout", type=int, default=300)
    parser.add_argument("--no-wait", action="store_true")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
