"""Which modules of Slipway one handler of an entry file can reach: read off its source, nothing is imported.

Of the entry file, only what the handler uses counts: each handler's own imports are its own. Of every other module all
of it counts, the imports inside its functions too, and the adapters that it names as "slipway.module:Class". What is
imported for types alone does not.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

_ADAPTER = re.compile(r"(slipway(?:\.\w+)+):\w+")

Find = Callable[[str], Path | None]
"""Dotted name → the file of that module or package, None where there is none."""


def closure(entry: Path, handler: str, find: Find, without: frozenset[str] = frozenset()) -> dict[str, Path]:
    """Dotted name → file, of all modules that the handler can reach, the packages around them included.

    `without`: modules that are never reached at run time, although a reached one imports them.
    Raises LookupError where the entry has no such handler."""
    found: dict[str, Path] = {}
    waiting = list(named_in(used_by(handler, ast.parse(entry.read_text()))))
    while waiting:
        name = waiting.pop()
        path = find(name)
        if path is None or name in found or name in without:
            continue
        found[name] = path
        waiting += [name.rpartition(".")[0], *named_in([ast.parse(path.read_text())])]
    return found


def used_by(handler: str, module: ast.Module) -> list[ast.stmt]:
    """The statements of a module that run for one of its functions: itself, the definitions it uses, and theirs, and
    what runs at import whatever is called. Raises LookupError."""
    definitions = {name: node for node in module.body for name in _defined(node)}
    if handler not in definitions:
        raise LookupError(f"there is no handler {handler}")
    always = [node for node in module.body if not any(_defined(node))]
    used: list[ast.stmt] = []
    waiting = [handler, *_names(always)]
    while waiting:
        node = definitions.get(waiting.pop())
        if node is not None and node not in used:
            used.append(node)
            waiting += _names([node])
    return [*always, *used]


def named_in(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Dotted names that are imported or named as an adapter. `from a import b` may mean the module a.b."""
    for node in nodes:
        match node:
            case ast.If(test=test, orelse=otherwise) if ast.unparse(test).endswith("TYPE_CHECKING"):
                yield from named_in(otherwise)
                continue
            case ast.Import(names=names):
                yield from (each.name for each in names)
            case ast.ImportFrom(module=str(module), names=names):
                yield module
                yield from (f"{module}.{each.name}" for each in names)
            case ast.Constant(value=str(text)) if adapter := _ADAPTER.fullmatch(text):
                yield adapter[1]
        yield from named_in(ast.iter_child_nodes(node))


def _defined(node: ast.stmt) -> Iterator[str]:
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Assign(targets=targets):
            yield from (target.id for target in targets if isinstance(target, ast.Name))
        case ast.AnnAssign(target=ast.Name(id=name)):
            yield name


def _names(nodes: Iterable[ast.AST]) -> list[str]:
    return [each.id for node in nodes for each in ast.walk(node) if isinstance(each, ast.Name)]
