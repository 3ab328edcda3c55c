"""Import cost by count, in a fresh interpreter: modules, not seconds (design §8)."""

from __future__ import annotations

import subprocess
import sys

COUNT = "import sys; before = set(sys.modules); {}; print('\\n'.join(sorted(set(sys.modules) - before)))"
MEMORY = (
    "import slipway.functions.advance, slipway.adapters.memory.store, slipway.adapters.memory.bus, "
    "slipway.adapters.memory.target, slipway.adapters.memory.builder, slipway.adapters.memory.sources, "
    "slipway.adapters.memory.clock, slipway.adapters.memory.secrets"
)


def loaded(statement: str) -> list[str]:
    # -S: what site-packages' .pth files load is not ours.
    script = f"import sys; sys.path[:0] = {[path for path in sys.path if path]!r}; {COUNT.format(statement)}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_advance_with_memory_adapters_loads_at_most_120_modules() -> None:
    modules = loaded(MEMORY)
    assert len(modules) <= 120, modules


def test_advance_loads_nothing_that_is_not_ours_or_the_standard_library() -> None:
    ours = {*sys.stdlib_module_names, "slipway", "__editable___slipway_0_1_0_finder"}
    assert {name for name in loaded(MEMORY) if name.split(".")[0] not in ours} == set()


def test_the_command_line_says_help_without_loading_what_serves() -> None:
    modules = loaded("import slipway.cli.main")
    heavy = {"fastapi", "uvicorn", "dulwich", "pydantic", "starlette"}
    assert {name for name in modules if name.split(".")[0] in heavy} == set()
