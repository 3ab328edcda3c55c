"""Which files a `.dockerignore` leaves out: Docker's pattern rules as a pure function over paths.

Slipway hashes a build context before any Docker is asked, and hands the very same files to builders
that know nothing of ignore files. So the rules are applied here, once, and decide both.
The rules: https://docs.docker.com/build/concepts/context/#dockerignore-files
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass

from slipway.errors import Invalid, Problem


@dataclass(frozen=True, slots=True)
class Rule:
    """One line: the pattern as written, and what it matches (a path, or anything beneath it)."""

    pattern: str
    regex: re.Pattern[str]
    exception: bool
    """The line began with `!`: what it matches is kept after all."""


@dataclass(frozen=True, slots=True)
class Ignore:
    """The rules of one file, in its order."""

    rules: tuple[Rule, ...] = ()

    def leaves_out(self, path: str) -> bool:
        """Whether this path (relative, POSIX) is left out: the last rule that matches decides."""
        for rule in reversed(self.rules):
            if rule.regex.fullmatch(path):
                return not rule.exception
        return False

    def leaves_out_all_of(self, folder: str) -> bool:
        """Whether nothing beneath this folder can be kept, so that it need not be walked."""
        return self.leaves_out(folder) and not any(rule.exception for rule in self.rules)


def parse(text: str) -> Ignore:
    """The rules in the text of a `.dockerignore`.

    Raises:
        Invalid: naming each malformed line.
    """
    rules: list[Rule] = []
    problems: list[Problem] = []
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        if line.startswith("#") or not line.strip():
            continue
        try:
            rules.append(_rule(line.strip()))
        except ValueError as error:
            problems.append(Problem(f".dockerignore line {number}", str(error), line.strip()))
    if problems:
        raise Invalid(problems)
    return Ignore(tuple(rules))


def _rule(line: str) -> Rule:
    exception = line.startswith("!")
    pattern = line.removeprefix("!").strip()
    if not pattern:
        raise ValueError("a '!' must be followed by a pattern")
    segments = posixpath.normpath(pattern).lstrip("/").split("/")
    return Rule(line, re.compile(_pattern(segments), re.DOTALL), exception)


# Submitters write these patterns, and `re` cannot be interrupted: a pattern must never backtrack its way into hours.
# Every wildcard but the last of a segment therefore commits to its first fit (`(?>...)`). That loses nothing: where
# a later fit would do for the rest, the first one does too.

_END = r"(?=/|\Z)"


def _pattern(segments: list[str]) -> str:
    """Matches what the segments match, and everything beneath it. `**` is any number of folders, zero included."""
    translated, block, anywhere = "", "", False
    for segment in segments:
        deep, segment = segment.startswith("**"), re.sub(r"^\*\*+(?=.)", "*", segment, flags=re.DOTALL)
        if deep:
            translated += _block(block, anywhere)
            block, anywhere = "", True
        if not deep or segment != "**":
            block += _segment(segment) + "/"
    if not block:
        return f"{translated}.+"
    return f"{translated}{_block(block.removesuffix('/'), anywhere)}(?:/.*)?"


def _block(block: str, anywhere: bool) -> str:
    return f"(?>(?:[^/]+/)*?{block})" if anywhere and block else block


_TOKEN = re.compile(
    r"""
      (?P<star>\*+)
    | (?P<one>\?)
    | \[(?P<negated>\^?)(?P<members>(?:\\.|[^\]\\])+)\]
    | \\(?P<escaped>.)
    | (?P<literal>[^\[\\])
    """,
    re.VERBOSE | re.DOTALL,
)


def _segment(segment: str) -> str:
    """What stands between two slashes, up to its end."""
    parts, position = [""], 0
    while position < len(segment):
        token = _TOKEN.match(segment, position)
        if token is None:
            raise ValueError("a '[' needs its ']' with something between, and a '\\' a character after it")
        if token.lastgroup == "star":
            parts.append("")
        else:
            parts[-1] += _one_character(token)
        position = token.end()
    if len(parts) == 1:
        return parts[0] + _END
    first, *middle, last = parts
    return first + "".join(f"(?>[^/]*?{part})" for part in middle) + f"[^/]*{last}{_END}"


def _one_character(token: re.Match[str]) -> str:
    match token.lastgroup:
        case "one":
            return "[^/]"
        case "members":
            return f"(?!/)[{token['negated']}{_members(token['members'])}]"
        case _:
            return re.escape(token["escaped"] or token["literal"])


def _members(text: str) -> str:
    """The inside of `[...]`: single characters and ranges, a backslash making the next one plain."""
    characters = re.findall(r"\\?.", text, re.DOTALL)
    translated, position = "", 0
    while position < len(characters):
        first = last = characters[position][-1]
        position += 1
        if characters[position : position + 1] == ["-"] and position + 1 < len(characters):
            last = characters[position + 1][-1]
            position += 2
        if first > last:
            raise ValueError(f"the range '{first}-{last}' runs backwards")
        translated += f"{re.escape(first)}-{re.escape(last)}"
    return translated
