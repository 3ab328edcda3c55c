"""Which repository addresses are taken: https and ssh, the scp-like form, and what an operator opened beyond that.

Everything else is refused by not being on the list: `ext::` runs a command, a leading `-` is read as an option by the
programs that get to see it, `git://` and `http://` prove nothing about who answers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from slipway.errors import Invalid, Problem

_SCP = re.compile(r"(?P<user>[^@/:]+)@(?P<host>[^@/:]+):(?P<path>[^:].*)")
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")
_ENCRYPTED = ("https", "ssh")
_PLAIN = ("git", "http")


@dataclass(frozen=True, slots=True)
class Address:
    """A repository, taken apart. `scheme` is https, http, ssh, git or file."""

    scheme: str
    path: str
    """As the server is asked for it; of a file, the absolute path of the repository."""
    host: str = ""
    port: int | None = None
    user: str | None = None

    def __str__(self) -> str:
        """For messages: no user name, which may be a token."""
        if self.scheme == "file":
            return self.path
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port is None else f":{self.port}"
        return f"{self.scheme}://{host}{port}/{self.path.lstrip('/')}"


def parse(uri: str, *, local_paths: bool, insecure: bool) -> Address:
    """`uri` as an Address. Raises Invalid, naming the rule; the message repeats nothing of a refused address that could
    be a secret."""
    if any(character.isspace() or not character.isprintable() for character in uri):
        raise _refused("may not hold spaces or control characters")
    if uri.startswith("-"):
        raise _refused("may not start with '-'", uri)
    scheme, separator, _ = uri.partition("://")
    if not separator:
        scp = _SCP.fullmatch(uri)
        if scp is not None:
            return _checked(Address("ssh", scp["path"], scp["host"], None, scp["user"]), uri)
        return _local(uri, uri, local_paths)
    if scheme == "file":
        host, slash, path = uri.removeprefix("file://").partition("/")
        if host not in ("", "localhost"):
            raise _refused("a file:// address may not name a host", uri)
        return _local(unquote(slash + path), uri, local_paths)
    if scheme in _PLAIN and not insecure:
        raise _refused(f"{scheme}:// proves nothing about who answers, so it is not taken", scheme + "://", _USE)
    if scheme not in _ENCRYPTED + _PLAIN:
        raise _refused("is not of a kind that is taken", scheme + "://", _USE)
    return _network(scheme, uri)


_USE = "Use https://host/path or user@host:path; `slipway up --help` lists what its operator may allow"


def _network(scheme: str, uri: str) -> Address:
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise _refused(f"is not an address ({error})") from error
    if parts.password is not None:
        raise _refused("may not hold a password: it would be stored with the submission", fix=_STORE)
    if parts.query or parts.fragment:
        raise _refused("may not hold '?' or '#'", f"{scheme}://{host}{parts.path}")
    user = None if parts.username is None else unquote(parts.username)
    return _checked(Address(scheme, parts.path, host, port, user), f"{scheme}://{host}{parts.path}")


_STORE = "Keep it on the machine that runs Slipway, in git's credential store (~/.git-credentials), or use ssh"


def _checked(address: Address, shown: str) -> Address:
    if not _HOST.fullmatch(address.host):
        raise _refused("its host must be a name in ASCII or an IP address", shown)
    if (address.user or "").startswith("-") or address.path.startswith("-"):
        raise _refused("neither user nor path may start with '-'", shown)
    if not address.path.strip("/"):
        raise _refused("names no repository on its host", shown)
    return address


def _local(path: str, uri: str, allowed: bool) -> Address:
    if not allowed:
        raise _refused("is not an address that is taken; paths of this machine are not", uri, _USE)
    if not path.startswith("/") or "\0" in path:
        raise _refused("a path must be absolute", uri)
    return Address("file", path)


def _refused(rule: str, value: str | None = None, fix: str = "") -> Invalid:
    return Invalid(Problem("uri", rule, value, fix))
