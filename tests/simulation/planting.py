"""Plants a small bug into the running code, and takes it out again.

A bug is written as what it is in a diff: in this function, this text instead of that. The function keeps its identity
and gets other byte code, so whoever imported it by name has the bug too. No file is touched.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from types import CodeType, FunctionType
from typing import Any

_CALLED = "__planted_and_called__"


@dataclass(frozen=True, eq=False)
class Edit:
    """In this function, `new` stands where `old` stood, which is there exactly once."""

    function: Callable[..., Any]
    old: str
    new: str


@dataclass(frozen=True, eq=False)
class Mutant:
    """A bug: one idea, and the one or two places where it takes to be a bug."""

    name: str
    edits: tuple[Edit, ...]
    names: Mapping[str, object] = field(default_factory=dict)
    """What the new texts speak of and the mutated modules do not have."""


class Gone(AssertionError):
    """The code is no longer what a mutant was written against: rewrite the mutant."""


@contextmanager
def planted(mutant: Mutant) -> Iterator[Callable[[], int]]:
    """The bug is in the code meanwhile. Yields a function that tells how often mutated code has been called."""
    calls = 0

    def called() -> None:
        nonlocal calls
        calls += 1

    with ExitStack() as restored:
        for function, code in mutated(mutant).items():
            for name, value in {**mutant.names, _CALLED: called}.items():
                restored.enter_context(_global(function.__globals__, name, value))
            restored.callback(setattr, function, "__code__", function.__code__)
            function.__code__ = code
        yield lambda: calls


@cache
def mutated(mutant: Mutant) -> Mapping[FunctionType, CodeType]:
    """The functions that change, with their new code. Raises Gone."""
    sources: dict[FunctionType, str] = {}
    for edit in mutant.edits:
        function = edit.function
        assert isinstance(function, FunctionType), f"{mutant.name}: {function} is no plain function"
        source = sources.get(function) or textwrap.dedent(inspect.getsource(function))
        if source.count(edit.old) != 1:
            raise Gone(f"{mutant.name}: {source.count(edit.old)} times in {function.__qualname__}: {edit.old}")
        sources[function] = source.replace(edit.old, edit.new)
    return {function: _compiled(function, source) for function, source in sources.items()}


def _compiled(function: FunctionType, source: str) -> CodeType:
    tree = ast.parse(source)
    (definition,) = tree.body
    assert isinstance(definition, ast.FunctionDef)
    definition.body[:0] = ast.parse(f"{_CALLED}()").body
    ast.increment_lineno(tree, function.__code__.co_firstlineno - 1)
    module = compile(ast.fix_missing_locations(tree), function.__code__.co_filename, "exec")
    (code,) = (each for each in module.co_consts if isinstance(each, CodeType) and each.co_name == function.__name__)
    return code


@contextmanager
def _global(names: dict[str, Any], name: str, value: object) -> Iterator[None]:
    missing = object()
    before = names.get(name, missing)
    names[name] = value
    try:
        yield
    finally:
        if before is missing:
            del names[name]
        else:
            names[name] = before
