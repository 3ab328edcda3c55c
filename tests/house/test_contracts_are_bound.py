"""One suite per port, bound by every adapter that answers to it."""

from __future__ import annotations

import ast
import inspect
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from slipway import ports

ROOT = Path(__file__).parents[2]
CONTRACTS = ROOT / "tests" / "contracts"
ADAPTERS = ROOT / "shared" / "slipway" / "adapters"
SUITES = {
    ports.Store: "StoreContract",
    ports.Bus: "BusContract",
    ports.Blobs: "BlobsContract",
    ports.SignedBlobs: "SignedBlobsContract",
    ports.Sources: "SourcesContract",
    ports.Registry: "RegistryContract",
    ports.Builder: "BuilderContract",
    ports.Target: "TargetContract",
    ports.Secrets: "SecretsContract",
    ports.Clock: "ClockContract",
    ports.Watcher: "WatcherContract",
}
REFUSES_EVERYTHING = {"NoopBuilder", "_Nothing"}
"""Adapters whose whole point is not to fulfil their port; they have tests of their own."""
PARTS = {"Archives", "Git", "Api"}
"""Halves of LocalSources, which the suite reaches through it; and what makes calls, whose `get` is of no port."""


def methods(port: type) -> set[str]:
    return {name for name, _ in inspect.getmembers(port, inspect.isfunction) if not name.startswith("_")}


def adapters() -> dict[str, type]:
    """Every class in an adapter package that has all the methods of a port: name → port."""
    found: dict[str, type] = {}
    for path in ADAPTERS.rglob("*.py"):
        module = import_module("slipway.adapters." + ".".join(path.relative_to(ADAPTERS).with_suffix("").parts))
        for name, kind in vars(module).items():
            if not inspect.isclass(kind) or kind.__module__ != module.__name__ or name in REFUSES_EVERYTHING | PARTS:
                continue
            # Blobs have a `get` as well, and are no Secrets: who does more answers to the port with more.
            answered = [port for port in SUITES if methods(port) <= set(dir(kind))]
            if answered:
                found[name] = max(answered, key=lambda port: len(methods(port)))
    return found


def bindings() -> dict[str, str]:
    """Suite → the text of every module that binds it."""
    texts: dict[str, str] = dict.fromkeys(SUITES.values(), "")
    for path in CONTRACTS.glob("test_*.py"):
        text = path.read_text()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef):
                for base in node.bases:
                    suite = ast.unparse(base).split(".")[-1]
                    if suite in texts:
                        texts[suite] += text
    return texts


def test_every_port_has_a_suite() -> None:
    protocols = {
        kind for kind in vars(ports).values() if inspect.isclass(kind) and getattr(kind, "_is_protocol", False)
    }
    assert {kind.__name__ for kind in protocols if kind.__module__ == "slipway.ports"} == {
        port.__name__ for port in SUITES
    }
    for suite in SUITES.values():
        (where,) = [path for path in CONTRACTS.glob("*_contract.py") if f"class {suite}" in path.read_text()]
        assert where


@pytest.mark.parametrize(("name", "port"), sorted(adapters().items()), ids=lambda value: str(value))
def test_every_adapter_is_bound_to_the_suite_of_its_port(name: str, port: Any) -> None:
    assert name in bindings()[SUITES[port]], f"{name} answers to {port.__name__} and no test binds it to the suite"


def test_memory_answers_to_every_port_but_two() -> None:
    """Design: the whole app runs on the in-memory adapters. Nothing changes there unless told, so nothing watches; and
    nobody else can read there, so nothing is signed."""
    from_memory = {port for name, port in adapters().items() if name.startswith("Memory")}
    assert from_memory == set(SUITES) - {ports.Watcher, ports.SignedBlobs}
