"""Reading a WWW-Authenticate header: which schemes a server takes, and with which parameters.

RFC 9110, section 11.6.1 (which replaced RFC 7235): challenges and parameters are both separated by commas, so only the
grammar tells where the next challenge begins.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER = re.compile(rf'({_WORD})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|({_WORD}))')
_SCHEME = re.compile(rf"({_WORD})(?=[ \t,]|$)(?:[ \t]+[A-Za-z0-9._~+/-]+=*(?=[ \t]*(?:,|$)))?")
_SEPARATOR = re.compile(r"[ \t,]*")
_ESCAPE = re.compile(r"\\(.)")


def challenges(header: str) -> Mapping[str, Mapping[str, str]]:
    """Scheme → parameters, both names in lower case; the first challenge of a scheme counts.

    Total: what does not follow the grammar ends the reading, and what was read before it counts.
    """
    found: dict[str, dict[str, str]] = {}
    current: dict[str, str] | None = None
    position = _after(_SEPARATOR, header, 0)
    while position < len(header):
        parameter = _PARAMETER.match(header, position)
        scheme = _SCHEME.match(header, position)
        if parameter is not None and current is not None:
            name, quoted, plain = parameter.groups()
            current.setdefault(name.lower(), _ESCAPE.sub(r"\1", quoted) if plain is None else plain)
            position = parameter.end()
        elif scheme is not None:
            current = {}
            found.setdefault(scheme[1].lower(), current)
            position = scheme.end()
        else:
            break
        position = _after(_SEPARATOR, header, position)
    return found


def _after(pattern: re.Pattern[str], text: str, position: int) -> int:
    match = pattern.match(text, position)
    return position if match is None else match.end()
