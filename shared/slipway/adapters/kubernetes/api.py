"""Calls on an API server, as plain JSON: three verbs, a stream, and failures in Slipway's words.

Objects stay mappings, because a queue's config may be of any kind; so none of the 700 classes of Kubernetes' own client
is of use, and urllib3, on which that client stands too, is spoken to directly.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from slipway.adapters.kubernetes.access import Access
from slipway.adapters.kubernetes.failures import of_answer, of_connection
from slipway.errors import Refused

if TYPE_CHECKING:
    from urllib3 import PoolManager
    from urllib3.response import BaseHTTPResponse

Json = Any
Body = dict[str, Any]
CONNECTIONS = 16
"""Kept open to one server, for as many threads."""
PAGE = 500
"""Objects in one answer to a list; kubectl's own."""


class Api:
    """One API server. Safe for use by several threads.

    Every call is told `doing`, in words that follow "cannot": "start Job ml/train". `timeout` is seconds for one call,
    connecting included; a stream may be silent for as long as its caller says.

    Each raises what `failures.of_answer` makes of an answer that is no success, and Temporary where there is none.
    """

    def __init__(self, access: Access, *, timeout: float = 30.0) -> None:
        self.access = access
        self._timeout = timeout
        self._lock = threading.Lock()

    def get(self, path: str, doing: str, **query: str) -> Body:
        return self._call("GET", path, doing, query=query)

    def items(self, path: str, doing: str, **query: str) -> Iterator[Body]:
        """Of a list, however long: page by page."""
        following = ""
        while True:
            more = {"continue": following} if following else {}
            page = self.get(path, doing, limit=str(PAGE), **query, **more)
            yield from page.get("items") or []
            following = (page.get("metadata") or {}).get("continue") or ""
            if not following:
                return

    def create(self, path: str, body: Mapping[str, Json], doing: str, *, field: str = "resource_args") -> Body:
        """`field` is where the manifest stands in what people write, for messages. A field that the server does not
        know is refused and not dropped, by servers of 1.25 and later.
        https://kubernetes.io/docs/reference/using-api/api-concepts/#field-validation"""
        return self._call("POST", path, doing, body=body, query={"fieldValidation": "Strict"}, field=field)

    def delete(self, path: str, doing: str, **options: Json) -> Body:
        """`options` are of DeleteOptions: `propagationPolicy`, `preconditions`."""
        return self._call("DELETE", path, doing, body={"apiVersion": "v1", "kind": "DeleteOptions", **options})

    @contextmanager
    def stream(self, path: str, doing: str, *, silence: float, **query: str) -> Iterator[Stream]:
        """The lines of an answer as they come. It may be silent for `silence` seconds, and then ends with Temporary.
        Leaving the block closes it."""
        answer = self._send("GET", path, doing, query=query, stream=True, read_timeout=silence)
        try:
            if answer.status >= 400:
                raise of_answer(doing, answer.status, _body(answer, doing), answer.headers.get("Retry-After"))
            yield Stream(answer, doing)
        finally:
            answer.close()
            answer.release_conn()

    def _call(
        self,
        verb: str,
        path: str,
        doing: str,
        *,
        body: Json = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        field: str = "resource_args",
    ) -> Body:
        answer = self._send(verb, path, doing, body=body, query=query, headers=headers)
        if answer.status >= 400:
            raise of_answer(doing, answer.status, answer.data, answer.headers.get("Retry-After"), field)
        try:
            told: Body = json.loads(answer.data)
        except ValueError as error:
            raise of_connection(doing, self.access.server, error) from error
        return told

    def _send(
        self,
        verb: str,
        path: str,
        doing: str,
        *,
        body: Json = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        stream: bool = False,
        read_timeout: float | None = None,
    ) -> BaseHTTPResponse:
        from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError
        from urllib3.util import Retry, Timeout

        url = f"{self.access.server}{path}"
        if query:
            url = f"{url}?{urlencode(query)}"
        known = {"Accept": "application/json", "Content-Type": "application/json", "User-Agent": "slipway"}
        # A connection that was kept may have been cut meanwhile: to look again does no harm.
        again = Retry(total=1, connect=0, redirect=0, status=0, other=0) if verb == "GET" and not stream else False
        slow = Timeout(connect=self._timeout, read=read_timeout)
        try:
            return self._pool.request(
                verb,
                url,
                body=None if body is None else json.dumps(body).encode(),
                headers={**known, **self._proof(), **(headers or {})},
                timeout=slow if stream else Timeout(total=self._timeout),
                preload_content=not stream,
                redirect=False,
                retries=again,
            )
        except HTTPError as error:
            cause = getattr(error, "reason", error)
            sent = not isinstance(cause, NewConnectionError | ConnectTimeoutError)
            raise of_connection(doing, self.access.server, error, sent=sent) from error

    def _proof(self) -> dict[str, str]:
        try:
            token = self.access.token()
        except OSError as error:
            raise Refused(f"the token for {self.access.server} cannot be read: {error}") from error
        if token:
            return {"Authorization": f"Bearer {token}"}
        return {"Authorization": self.access.basic} if self.access.basic else {}

    @property
    def _pool(self) -> PoolManager:
        # cached_property alone would let two threads make two, each with connections of its own.
        with self._lock:
            return self._pools

    @cached_property
    def _pools(self) -> PoolManager:
        import ssl

        from urllib3 import PoolManager, ProxyManager

        to = self.access
        context = ssl.create_default_context(cafile=to.authority_file, cadata=to.authority)
        # Left to urllib3, which does it itself then: its 1.26 gives ssl no name where the server is an IP address.
        context.check_hostname = False
        # Python 3.13 wants of a certificate authority what those of many clusters (EKS's) have not.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if not to.verify:
            context.verify_mode = ssl.CERT_NONE
        if to.certificate_file:
            context.load_cert_chain(to.certificate_file, to.key_file)
        settings: dict[str, Any] = {"ssl_context": context, "maxsize": CONNECTIONS, "block": False}
        if to.server_name:
            settings |= {"server_hostname": to.server_name, "assert_hostname": to.server_name}
        return ProxyManager(to.proxy, **settings) if to.proxy else PoolManager(**settings)


def _body(answer: BaseHTTPResponse, doing: str) -> bytes:
    from urllib3.exceptions import HTTPError

    try:
        return bytes(answer.read())
    except HTTPError as error:
        raise of_connection(doing, "the server", error) from error


class Stream:
    """Lines without their ends, for one reader. Another thread may cut it off, which ends the reader's loop."""

    def __init__(self, answer: BaseHTTPResponse, doing: str) -> None:
        self._answer = answer
        self._doing = doing
        self._cut = False

    def __iter__(self) -> Iterator[bytes]:
        """urllib3 gives what has come, whole lines or not."""
        from urllib3.exceptions import HTTPError

        rest = b""
        try:
            for piece in self._answer.stream(1 << 16, decode_content=True):
                *whole, rest = (rest + piece).split(b"\n")
                yield from whole
        except HTTPError as error:
            if self._cut:
                return
            raise of_connection(self._doing, "the stream", error) from error
        if rest:
            yield rest

    def cut(self) -> None:
        self._cut = True
        # urllib3 1.26 has no way to wake its reader, who is let go with the next line; and one that has come to its end
        # by itself cannot be shut down any more.
        with suppress(AttributeError, ValueError, OSError):
            self._answer.shutdown()
