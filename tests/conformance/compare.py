"""What is not the same between the facts that a case expects and ours: one Difference per place."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

MISSING = "(missing)"
OURS = ("slipway", "SLIPWAY")
"""What Slipway adds under a name of its own changes nothing that W&B does."""


@dataclass(frozen=True)
class Difference:
    path: str
    expected: Any
    ours: Any

    def __str__(self) -> str:
        return f"{self.path or '.'}: expected {_short(self.expected)}, ours {_short(self.ours)}"


def differences(expected: Any, ours: Any, path: str = "") -> Iterator[Difference]:
    """Mappings by key, lists of named entries by name, other lists in their order. null is as missing."""
    if isinstance(expected, dict) and isinstance(ours, dict):
        for key in [*expected, *(key for key in ours if key not in expected)]:
            if key not in expected and str(key).startswith(OURS):
                continue
            a, b = expected.get(key), ours.get(key)
            if a is not None or b is not None:
                yield from _at(a, b, f"{path}.{key}" if path else str(key))
    elif isinstance(expected, list) and isinstance(ours, list):
        yield from _lists(expected, ours, path)
    elif type(expected) is not type(ours) or expected != ours:
        yield Difference(path, expected, ours)


def _at(expected: Any, ours: Any, path: str) -> Iterator[Difference]:
    if expected is None or ours is None:
        yield Difference(path, MISSING if expected is None else expected, MISSING if ours is None else ours)
    else:
        yield from differences(expected, ours, path)


def _lists(expected: list[Any], ours: list[Any], path: str) -> Iterator[Difference]:
    for word in ("name", "Key"):
        if expected and all(isinstance(each, dict) and word in each for each in (*expected, *ours)):
            a, b = ({each[word]: each for each in entries} for entries in (expected, ours))
            if len(a) == len(expected) and len(b) == len(ours):
                for name in [*a, *(name for name in b if name not in a and not str(name).startswith(OURS))]:
                    yield from _at(a.get(name), b.get(name), f"{path}[{name}]")
                return
    if len(expected) == len(ours):
        for index, (a, b) in enumerate(zip(expected, ours, strict=True)):
            yield from differences(a, b, f"{path}[{index}]")
        return
    texts = [[json.dumps(each, sort_keys=True) for each in entries] for entries in (expected, ours)]
    for word, i, j, k, m in SequenceMatcher(None, *texts, autojunk=False).get_opcodes():
        if word != "equal":
            yield Difference(f"{path}[{i}:{j}]", expected[i:j] or MISSING, ours[k:m] or MISSING)


def same_subject(expected: str, ours: str) -> bool:
    """Whether two error messages are about the same thing: W&B's names a field or a word, and ours has one of them.

    How a rule is said is each one's own."""
    if "validation error" in expected:
        # pydantic: a line that counts, then the place, then its own words for the rule.
        return _plain(expected.splitlines()[1].split(".")[-1]) in _plain(ours)
    found = re.findall(r"['`\"\[]([^'`\"\]]+)['`\"\]]", expected) + re.findall(r"\b(?:\w+[A-Z_-]\w*)\b", expected)
    names = {_plain(part) for word in found for part in re.split(r"[.\[\]\s=]+", word) if len(part) > 2}
    names -= {"launch", "agentconfig", "kubernetes", "localcontainer", "resourceargs", "sagemaker"}
    said = _plain(ours)
    return not names or any(name in said for name in names)


def _plain(text: str) -> str:
    return re.sub(r"[_\-]", "", text).lower()


def _short(value: Any) -> str:
    text = value if value == MISSING else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 160 else f"{text[:157]}..."
