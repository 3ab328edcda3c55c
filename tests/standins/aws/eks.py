"""A cluster of EKS: a genuine Kubernetes behind the entrance that EKS puts before it.

DescribeCluster gives the address and the authority of a TLS server on loopback. That one takes a bearer token as AWS's
authenticator does: it is a request to STS, which is checked, sent to moto's STS, and so gives the ARN of who asks; and
what access entry that ARN has says as which user, in which groups, the call goes on to the API server.
https://docs.aws.amazon.com/eks/latest/APIReference/API_DescribeCluster.html
https://docs.aws.amazon.com/eks/latest/userguide/access-entries.html
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit
from xml.etree import ElementTree

from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from tests.standins.aws.moto_server import ACCOUNT, REGION, environment
from tests.standins.certificates import Certificate, loopback
from tests.standins.raw_http import Answer, Request, listening, serving

from slipway.adapters.kubernetes.access import Access

PREFIX = "k8s-aws-v1."
CLUSTER = "x-k8s-aws-id"
GOOD_FOR = timedelta(minutes=15)
HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "te", "upgrade", "trailer"})
ME = f"arn:aws:sts::{ACCOUNT}:user/moto"
"""Who the keys of these tests are, by moto's STS."""


@dataclass(frozen=True)
class Entry:
    """Who somebody of AWS is within the cluster."""

    user: str
    groups: tuple[str, ...]


class Unauthorised(Exception):
    """A token that the cluster does not take."""


@dataclass
class EksCluster:
    """`behind` is an administrator's access to the genuine cluster; `sts` is moto's URL."""

    name: str
    behind: Access
    sts: str
    entries: dict[str, Entry] = field(default_factory=dict)
    """ARN → its access entry."""
    calls: list[tuple[str, str, str]] = field(default_factory=list)
    """Verb, path and user of each call that was let in."""
    refused: list[str] = field(default_factory=list)
    """Why each of the others was not."""
    described: int = 0
    address: str = ""
    api: str = ""
    """The URL of EKS itself, for AWS_ENDPOINT_URL_EKS."""
    authority: str = ""

    def describe(self, request: Request) -> Answer:
        headers = {"Content-Type": "application/json"}
        if request.path != f"/clusters/{self.name}":
            said = {"message": f"No cluster found for name: {request.path.rpartition('/')[2]}."}
            headers["x-amzn-ErrorType"] = "ResourceNotFoundException"
            return Answer(404, json.dumps(said).encode(), headers)
        self.described += 1
        told = {
            "name": self.name,
            "arn": f"arn:aws:eks:{REGION}:{ACCOUNT}:cluster/{self.name}",
            "status": "ACTIVE",
            "endpoint": self.address,
            "certificateAuthority": {"data": base64.b64encode(self.authority.encode()).decode()},
        }
        return Answer(200, json.dumps({"cluster": told}).encode(), headers)

    def who(self, authorization: str) -> Entry:
        """Raises Unauthorised."""
        scheme, _, token = authorization.partition(" ")
        if scheme != "Bearer" or not token.startswith(PREFIX):
            raise Unauthorised("no token of EKS")
        text = token.removeprefix(PREFIX)
        url = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
        _check(url, self.name, self.sts)
        arn = _caller(url, self.name)
        if arn not in self.entries:
            raise Unauthorised(f"{arn} has no access entry")
        return self.entries[arn]


@contextmanager
def eks_cluster(
    name: str, behind: Access, sts: str, folder: Path, entries: Mapping[str, Entry]
) -> Iterator[EksCluster]:
    certificate = loopback(folder)
    cluster = EksCluster(name, behind, sts, dict(entries), authority=certificate.path.read_text())
    with serving(cluster.describe) as cluster.api, _entrance(cluster, certificate) as cluster.address:
        yield cluster


@contextmanager
def _entrance(cluster: EksCluster, certificate: Certificate) -> Iterator[str]:
    trusting = ssl.create_default_context(cafile=cluster.behind.authority_file, cadata=cluster.behind.authority)
    upstream = urlsplit(cluster.behind.server)

    class Entrance(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_call(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            try:
                entry = cluster.who(self.headers.get("Authorization", ""))
            except Unauthorised as refusal:
                cluster.refused.append(str(refusal))
                self._unauthorised()
                return
            cluster.calls.append((self.command, self.path.partition("?")[0], entry.user))
            connection = http.client.HTTPSConnection(upstream.hostname or "", upstream.port, context=trusting)
            try:
                self._put(connection, body, entry)
                self._give(connection.getresponse())
            except (BrokenPipeError, ConnectionResetError):
                # Whoever followed a log or a watch has gone.
                self.close_connection = True
            finally:
                connection.close()

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_call

        def _put(self, connection: http.client.HTTPSConnection, body: bytes, entry: Entry) -> None:
            connection.putrequest(self.command, self.path, skip_accept_encoding=True, skip_host=False)
            for name, value in self.headers.items():
                if name.lower() not in {*HOP, "host", "authorization"} and not name.lower().startswith("impersonate-"):
                    connection.putheader(name, value)
            connection.putheader("Authorization", f"Bearer {cluster.behind.token()}")
            connection.putheader("Impersonate-User", entry.user)
            for group in (*entry.groups, "system:authenticated"):
                connection.putheader("Impersonate-Group", group)
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)

        def _give(self, answer: http.client.HTTPResponse) -> None:
            """As it comes: a log or a watch has no end."""
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in HOP:
                    self.send_header(name, value)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            while piece := answer.read1(1 << 16):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")

        def _unauthorised(self) -> None:
            """As the API server words it."""
            status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
            body = json.dumps({**status, "message": "Unauthorized", "reason": "Unauthorized", "code": 401}).encode()
            self.send_response(401)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Requests of a test are nobody's news."""

    with listening(Entrance, certificate) as url:
        yield url


def _check(url: str, cluster: str, sts: str) -> None:
    """What the authenticator checks of the URL before it sends it, and what STS would: moto looks at no signature.
    https://github.com/kubernetes-sigs/aws-iam-authenticator/blob/master/pkg/token/token.go"""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    if f"{parts.scheme}://{parts.netloc}" != sts or parts.path != "/":
        raise Unauthorised(f"{parts.netloc} is not the region's STS")
    if query.get("Action") != "GetCallerIdentity":
        raise Unauthorised("it asks something else than who the caller is")
    if CLUSTER not in query.get("X-Amz-SignedHeaders", "").split(";"):
        raise Unauthorised("it is signed for no cluster")
    made = datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    if not timedelta(0) <= datetime.now(UTC) - made + timedelta(seconds=1) < GOOD_FOR:
        raise Unauthorised(f"it is of {made}")
    if _signature(url, query, cluster) != query["X-Amz-Signature"]:
        raise Unauthorised("its signature is of another cluster, or of another key")


def _signature(url: str, query: Mapping[str, str], cluster: str) -> str:
    """As botocore signs what is in the URL."""
    keys = environment(url)
    known = Credentials(keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"], query.get("X-Amz-Security-Token"))
    unsigned = urlencode({name: value for name, value in query.items() if name != "X-Amz-Signature"})
    request = AWSRequest("GET", f"{url.partition('?')[0]}?{unsigned}", headers={CLUSTER: cluster})
    request.context["timestamp"] = query["X-Amz-Date"]
    auth = SigV4QueryAuth(known, "sts", REGION)
    return str(auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request))


def _caller(url: str, cluster: str) -> str:
    """Who STS says signed it. moto finds the service of a call in a header alone."""
    credential = dict(parse_qsl(urlsplit(url).query))["X-Amz-Credential"]
    routing = f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host, Signature=0"
    request = urllib.request.Request(url, headers={CLUSTER: cluster, "Authorization": routing})
    with urllib.request.urlopen(request, timeout=30) as answer:
        told = ElementTree.fromstring(answer.read())
    return next(str(each.text) for each in told.iter() if each.tag.endswith("Arn"))
