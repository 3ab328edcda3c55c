"""Documents from outside (launch specs, queue files), read field by field, every problem remembered.

People fix what they are told about: a document with five mistakes reports five, each with its path. And a document
may be anything at all, so `check_json` first makes sure that the rest can walk it safely.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NoReturn

from slipway.errors import Invalid, Problem, nearest
from slipway.model import Json

MAX_BYTES = 1 << 20
"""A document's size as JSON in UTF-8: room for a 300 KB config, and far from what a function's memory holds."""
MAX_DEPTH = 64
"""Levels of nesting, well within Python's own recursion limit."""
MAX_KEY = 1024
"""Characters of a key: it stands in messages."""
MAX_PROBLEMS = 50
_MAX_UNKNOWN = 20


class Twice(ValueError):
    """An object has a field twice; the message is its name."""


def distinct(pairs: Sequence[tuple[str, Json]]) -> dict[str, Json]:
    """For `object_pairs_hook` of `json.loads`, which takes the last of two fields and says nothing. Raises Twice."""
    document = dict(pairs)
    if len(document) < len(pairs):
        names = [name for name, _ in pairs]
        raise Twice(next(name for name in names if names.count(name) > 1))
    return document


def check_json(document: Json) -> None:
    """Raises Invalid with every place where the document is not plain JSON, or is too large or too deep.

    YAML can give dates, sets, keys that are numbers, and structures that contain themselves; JSON as Python reads it
    can give NaN and lone surrogates, which no store keeps. The walk stops at the size limit, so that a few kilobytes
    of YAML aliases cannot stand for gigabytes.
    """
    problems: list[Problem] = []
    size = 0
    stack: list[tuple[Json, str, int]] = [(document, "document", 1)]
    while stack:
        value, path, depth = stack.pop()
        size += 2 + (len(value) if isinstance(value, str) else 0)
        if size > MAX_BYTES:
            _too_large()
        if depth > MAX_DEPTH:
            raise Invalid(Problem(path, f"is nested deeper than {MAX_DEPTH} levels"))
        if isinstance(value, dict):
            for key, inner in value.items():
                if isinstance(key, str) and len(key) > MAX_KEY:
                    problems.append(Problem(path, f"has a key of more than {MAX_KEY} characters", key))
                elif isinstance(key, str) and not _not_json(key):
                    size += len(key)
                    stack.append((inner, join(path, key) if depth > 1 else join("", key), depth + 1))
                else:
                    problems.append(Problem(path, "has a key that is not text", fix="Put the key in quotes."))
        elif isinstance(value, list):
            stack.extend((inner, f"{path}[{index}]", depth + 1) for index, inner in enumerate(value))
        elif rule := _not_json(value):
            problems.append(Problem(path, rule, fix="Write it as text, in quotes."))
    refuse(problems)
    if len(json.dumps(document, ensure_ascii=False).encode()) > MAX_BYTES:
        _too_large()


def refuse(problems: Sequence[Problem]) -> None:
    """Raises Invalid with the problems, when there are any. Beyond MAX_PROBLEMS they are counted, not told."""
    if len(problems) > MAX_PROBLEMS:
        rest = Problem("document", f"has {len(problems) - MAX_PROBLEMS} more problems")
        raise Invalid([*problems[:MAX_PROBLEMS], rest])
    if problems:
        raise Invalid(problems)


class Reader:
    """One mapping of a document.

    A field that is absent or null reads as None (or the field's empty value); so does one that breaks a rule, and the
    problem is remembered. Readers of nested mappings share the list of problems; `finish` raises them all.
    """

    def __init__(
        self, fields: Mapping[str, Json], known: Iterable[str], path: str = "", problems: list[Problem] | None = None
    ) -> None:
        self.fields = fields
        self.path = path
        self.problems = [] if problems is None else problems
        known = frozenset(known)
        unknown = [field for field in fields if field not in known]
        for field in unknown[:_MAX_UNKNOWN]:
            self.problem(field, "is not a known field", fix=nearest(field, known))
        if len(unknown) > _MAX_UNKNOWN:
            rest = len(unknown) - _MAX_UNKNOWN
            self.problems.append(Problem(path or "document", f"has {rest} more fields that are not known"))

    @classmethod
    def of(cls, document: Json, known: Iterable[str]) -> Reader:
        """A reader of a whole document. Raises Invalid when it is not a mapping of plain JSON."""
        check_json(document)
        if not isinstance(document, Mapping):
            raise Invalid(Problem("document", "must be a mapping of fields to values", document))
        return cls(document, known)

    def at(self, field: str) -> str:
        return join(self.path, field)

    def problem(self, field: str, rule: str, value: Json = None, fix: str = "") -> None:
        self.problems.append(Problem(self.at(field), rule, value, fix))

    def finish(self) -> None:
        refuse(self.problems)

    def has(self, field: str) -> bool:
        return self.fields.get(field) is not None

    def text(self, field: str, limit: int = 4096) -> str | None:
        """Text of 1 to `limit` characters, none of them a control character."""
        value = self.fields.get(field)
        if value is None:
            return None
        if not isinstance(value, str):
            self.problem(field, "must be text", value, "Put it in quotes." if isinstance(value, int | float) else "")
        elif not value.strip():
            self.problem(field, "is empty", fix="Leave the field out, or give it a value.")
        elif len(value) > limit:
            self.problem(field, f"is longer than {limit} characters", value)
        elif any(unicodedata.category(letter) in ("Cc", "Zl", "Zp") for letter in value):
            self.problem(field, "contains a control character", value)
        else:
            return value
        return None

    def name(self, field: str, limit: int) -> str | None:
        """Text that can stand in a URL's path as one segment."""
        value = self.text(field, limit)
        if value is None:
            return None
        if "/" in value:
            self.problem(field, "contains '/'", value)
        elif value in (".", ".."):
            self.problem(field, "is not a name", value)
        elif value != value.strip():
            self.problem(field, "begins or ends with a space", value)
        else:
            return value
        return None

    def required(self, field: str, limit: int, fix: str) -> str:
        """As `name`, but its absence is a problem too. "" stands for a value that cannot be used."""
        if not self.has(field):
            self.problem(field, "is missing", fix=fix)
        return self.name(field, limit) or ""

    def matching(self, field: str, pattern: re.Pattern[str], rule: str) -> str | None:
        value = self.text(field)
        if value is None or pattern.fullmatch(value):
            return value
        self.problem(field, rule, value)
        return None

    def flag(self, field: str) -> bool | None:
        value = self.fields.get(field)
        if value is None or isinstance(value, bool):
            return value
        self.problem(field, "must be true or false", value)
        return None

    def number(self, field: str) -> float | None:
        value = self.fields.get(field)
        if value is None or is_number(value):
            return value
        self.problem(field, "must be a number", value)
        return None

    def strings(self, field: str) -> tuple[str, ...]:
        """A list of strings without NUL, which no process can be given."""
        value = self.fields.get(field)
        if value is None:
            return ()
        if not isinstance(value, list):
            self.problem(field, "must be a list of strings", value)
            return ()
        for index, each in enumerate(value):
            if not isinstance(each, str):
                self.problem(f"{field}[{index}]", "must be a string", each, "Put it in quotes.")
            elif "\0" in each:
                self.problem(f"{field}[{index}]", "contains a NUL character", each)
        return tuple(each for each in value if isinstance(each, str))

    def mapping(self, field: str) -> Mapping[str, Json]:
        value = self.fields.get(field)
        if value is None:
            return {}
        if isinstance(value, Mapping):
            return value
        self.problem(field, "must be a mapping", value)
        return {}

    def within(self, field: str, known: Iterable[str]) -> Reader:
        return Reader(self.mapping(field), known, self.at(field), self.problems)


def is_number(value: Json) -> bool:
    """JSON's numbers; Python's bool is an int and JSON's is not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def join(path: str, key: str) -> str:
    r"""`a.b` and `c` make `a.b.c`. A dot or backslash in a key is escaped (`labels.app\.io/name`), as W&B does."""
    escaped = key.replace("\\", "\\\\").replace(".", "\\.") or '""'
    return f"{path}.{escaped}" if path else escaped


def split(path: str) -> tuple[str, ...] | None:
    r"""The keys of a path, `\.` being a dot in a key; None where it is none (an empty key, a lone backslash)."""
    keys = [""]
    letters = iter(path)
    for letter in letters:
        if letter == "\\":
            escaped = next(letters, "")
            if escaped not in ("\\", "."):
                return None
            keys[-1] += escaped
        elif letter == ".":
            keys.append("")
        else:
            keys[-1] += letter
    return tuple(keys) if all(keys) else None


def rewrite(value: Json, text: Callable[[str, str], Json], path: str = "") -> Json:
    """The same value with each string in it, at any depth, replaced by `text(string, path)`. Keys stay as they are."""
    if isinstance(value, str):
        return text(value, path)
    if isinstance(value, Mapping):
        return {key: rewrite(inner, text, join(path, key)) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [rewrite(inner, text, f"{path}[{index}]") for index, inner in enumerate(value)]
    return value


def _not_json(value: Json) -> str:
    """The rule that a scalar breaks; "" for one that JSON has."""
    if value is None or isinstance(value, bool):
        return ""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return "contains half of a surrogate pair, which no text has"
        return ""
    if isinstance(value, int):
        return "" if value.bit_length() <= 64 else "is an integer of more than 64 bits"
    if isinstance(value, float):
        return "" if math.isfinite(value) else f"is {value}, which JSON does not have"
    return f"is a {type(value).__name__}, which JSON does not have"


def _too_large() -> NoReturn:
    rule = f"is larger than {MAX_BYTES // 1024} KiB"
    raise Invalid(Problem("document", rule, fix="Put large data where the job can read it."))
