"""What a run on SageMaker is started through: it fetches the run's secrets, and becomes the run's command.

    python3 -I -S with-secrets.py COMMAND [ARGUMENT ...]

SLIPWAY_SECRETS (see `slipway.render.secrets`) says which variable's value lies where. Each is read with the run's own
role, and COMMAND is executed with them in its environment. Without SLIPWAY_SECRETS it is executed at once. A variable
that is set already is left as it is. No value is ever part of a message.

This text is put into images as it stands, where neither Slipway nor boto3 is, so it asks for nothing but Python 3.7 and
its standard library.

Where it cannot go on it says why on stderr, and in the file that SageMaker shows as FailureReason, and exits (as in
sysexits.h, and as a shell does): 64 without a COMMAND, 69 where AWS cannot be reached, 77 where it refuses, 78 where
what is wanted cannot be had, 126 and 127 where COMMAND cannot be executed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import ipaddress
import json
import os
import re
import signal
import ssl
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn
from urllib.parse import quote, urlsplit
from urllib.request import BaseHandler, HTTPErrorProcessor, HTTPSHandler, OpenerDirector, ProxyHandler, Request
from urllib.request import build_opener as build

USAGE, UNAVAILABLE, REFUSED, MISTAKEN, NOT_EXECUTABLE, NOT_FOUND = 64, 69, 77, 78, 126, 127
FAILURE = Path("/opt/ml/output/failure")
"""https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-output.html"""
CREDENTIALS = "http://169.254.170.2"
"""https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html"""
CREDENTIALS_HOSTS = ("169.254.170.2", "169.254.170.23", "fd00:ec2::23", "localhost")
PATIENCE = 5.0
"""Seconds for one try."""
WAITS = (0.5, 2.0, 5.0)
"""Seconds between tries."""
SUFFIXES = {
    "cn-": "amazonaws.com.cn",
    "eusc-": "amazonaws.eu",
    "us-iso-": "c2s.ic.gov",
    "us-isob-": "sc2s.sgov.gov",
    "eu-isoe-": "cloud.adc-e.uk",
    "us-isof-": "csp.hci.ic.gov",
}
"""Beginning of a region's name -> domain of its endpoints, where it is not amazonaws.com."""


class Failure(Exception):
    """Why the command is not executed, in lines for people, and the exit code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Credentials(NamedTuple):
    key: str
    secret: str
    token: str
    """Empty for a user's own keys."""


def main(command: list[str]) -> int:
    """The exit code, where the command is not executed."""
    try:
        become(command, fetched(wanted(os.environ), os.environ))
    except Failure as failure:
        tell(str(failure))
        return failure.code


def wanted(environ: Mapping[str, str]) -> dict[str, str]:
    """Variable -> place of its value, of those that are not set."""
    text, number = environ.get("SLIPWAY_SECRETS", ""), 0
    # A variable of SageMaker's holds 512 characters, so a longer text comes in pieces.
    while f"SLIPWAY_SECRETS_{number}" in environ:
        text += environ[f"SLIPWAY_SECRETS_{number}"]
        number += 1
    try:
        places = json.loads(text or "{}")
    except ValueError:
        places = None
    known = isinstance(places, dict) and all(isinstance(place, str) for place in places.values())
    if not known or any(re.search("^$|[=\0]", variable) for variable in places):
        # It is not shown: someone may have put a secret itself there.
        raise Failure(MISTAKEN, "SLIPWAY_SECRETS is no JSON object of variables to places in AWS")
    return {variable: place for variable, place in places.items() if not environ.get(variable)}


def fetched(places: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """Variable -> value. Raises Failure with all that cannot be had."""
    if not places:
        return {}
    credentials = credentials_of(environ)
    texts: dict[str, str] = {}
    values: dict[str, str] = {}
    failures: list[Failure] = []
    for variable, reference in places.items():
        place, _, key = reference.partition("#")
        try:
            if place not in texts:
                texts[place] = read(place, credentials, environ)
            values[variable] = picked(texts[place], key, variable, place)
        except Failure as failure:
            failures.append(Failure(failure.code, f"{variable}: {failure}"))
            if failure.code == UNAVAILABLE:
                break
    if failures:
        raise Failure(failures[0].code, "\n".join(map(str, failures)))
    return values


def credentials_of(environ: Mapping[str, str]) -> Credentials:
    """As boto3 finds them: the variables of a user's own keys, else what the container's role is given."""
    key, secret = environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY")
    if key and secret:
        found = Credentials(key, secret, environ.get("AWS_SESSION_TOKEN", ""))
    else:
        path = environ.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
        url = CREDENTIALS + path if path else environ.get("AWS_CONTAINER_CREDENTIALS_FULL_URI")
        if not url:
            raise Failure(REFUSED, "there are no AWS credentials here, and a run on SageMaker has some")
        if not trusted(url):
            raise Failure(REFUSED, "the address for AWS credentials is neither https nor one that AWS names")
        request = Request(url, headers=authorization(environ))  # noqa: S310 - the scheme was looked at
        status, answer = answered(request, opener(environ, ProxyHandler({})))
        found = Credentials(*(str(answer.get(name) or "") for name in ("AccessKeyId", "SecretAccessKey", "Token")))
        if status != 200 or not (found.key and found.secret):
            raise Failure(REFUSED, f"the run is given no AWS credentials (HTTP {status})")
    if not all(re.match("[!-~]*$", part) for part in found):
        raise Failure(MISTAKEN, "the AWS credentials here are no texts that can be sent")
    return found


def trusted(url: str) -> bool:
    """Whoever answers there gets the token that is sent along, and says with whose rights secrets are read."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        if parts.scheme == "https" or (parts.scheme == "http" and host in CREDENTIALS_HOSTS):
            return bool(host)
        return parts.scheme == "http" and ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def authorization(environ: Mapping[str, str]) -> dict[str, str]:
    """The header that the container's credentials are asked for with, where there is one."""
    token, file = (
        environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN"),
        environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"),
    )
    if file:
        try:
            token = Path(file).read_text().strip()
        except (OSError, ValueError):
            raise Failure(MISTAKEN, f"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: {file} cannot be read") from None
    if token and not re.match("[ -~]+$", token):
        raise Failure(MISTAKEN, "the token to ask for AWS credentials is no text that can be sent")
    return {"Authorization": token} if token else {}


def read(place: str, credentials: Credentials, environ: Mapping[str, str]) -> str:
    """The text of a secret of Secrets Manager, or of a parameter of Parameter Store (`ssm:` and its name).

    https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html
    https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameter.html
    """
    if place.startswith("ssm:"):
        service, target, name = "ssm", "AmazonSSM.GetParameter", place[len("ssm:") :]
        wish: dict[str, Any] = {"Name": name, "WithDecryption": True}
    else:
        service, target, name = "secretsmanager", "secretsmanager.GetSecretValue", place
        wish = {"SecretId": name}
    region = region_of(name, environ)
    url, body = endpoint(service, region, environ), json.dumps(wish).encode()
    headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": target}
    headers = signed(url, headers, body, service, region, credentials, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()))
    status, answer = answered(Request(url, body, headers), opener(environ))  # noqa: S310 - the scheme was looked at
    if status != 200:
        refused(place, f"{service}:{target.partition('.')[2]}", region, status, answer)
    try:
        if service == "ssm":
            return str(answer["Parameter"]["Value"])
        text = answer.get("SecretString")
        return base64.b64decode(answer["SecretBinary"]).decode() if text is None else str(text)
    except (KeyError, TypeError, ValueError):
        # Not chained: that error carries the secret.
        raise Failure(MISTAKEN, f"{place} is no text") from None


def refused(place: str, action: str, region: str, status: int, answer: Mapping[str, Any]) -> NoReturn:
    """https://docs.aws.amazon.com/secretsmanager/latest/apireference/CommonErrors.html"""
    kind, words = kind_of(answer), str(answer.get("message") or answer.get("Message") or "")
    said = f"AWS says: {' '.join((kind or f'HTTP {status}', words)).strip()}"
    if kind in ("ResourceNotFoundException", "ParameterNotFound"):
        raise Failure(MISTAKEN, f"there is no {place} in {region}. {said}")
    if kind.startswith("AccessDenied"):
        right = "kms:Decrypt on the key of" if "to KMS" in words or "kms:Decrypt" in words else f"{action} on"
        raise Failure(REFUSED, f"the run's role may not read it: allow the role {right} {place}. {said}")
    raise Failure(REFUSED, f"{action} was refused for {place} in {region}. {said}")


def picked(text: str, key: str, variable: str, place: str) -> str:
    """A text that is a JSON object may hold several secrets: `#key` picks one. An object whose only key is the variable
    itself gives that key's value without being told."""
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    value: Any = text
    if key or (isinstance(document, dict) and list(document) == [variable]):
        value = document.get(key or variable) if isinstance(document, dict) else None
        if value is None:
            raise Failure(MISTAKEN, f"{place} is no JSON object with a key '{key or variable}'")
    value = value if isinstance(value, str) else json.dumps(value)
    if re.search("[\0\ud800-\udfff]", value):
        raise Failure(MISTAKEN, f"{place} is no text that a variable can hold")
    return str(value)


def region_of(name: str, environ: Mapping[str, str]) -> str:
    """The one in the secret's own ARN, else the one that the run is in."""
    own, job = (arn.split(":")[3:4] for arn in (name, environ.get("TRAINING_JOB_ARN", "")))
    here = [environ.get("AWS_REGION"), environ.get("AWS_DEFAULT_REGION"), *job]
    region = next((each for each in [*(own if name.startswith("arn:") else []), *here] if each), "")
    if not re.match("[a-z0-9-]+$", region):
        raise Failure(MISTAKEN, f"the region of {name} is not known: refer to it by its ARN, or set AWS_REGION")
    return region


def endpoint(service: str, region: str, environ: Mapping[str, str]) -> str:
    """https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html"""
    own = "AWS_ENDPOINT_URL_SSM" if service == "ssm" else "AWS_ENDPOINT_URL_SECRETS_MANAGER"
    given = environ.get(own) or environ.get("AWS_ENDPOINT_URL")
    if given and not re.match("https?://[!-~]+$", given):
        raise Failure(MISTAKEN, "AWS_ENDPOINT_URL is no address that begins with http:// or https://")
    suffix = next((each for begin, each in SUFFIXES.items() if region.startswith(begin)), "amazonaws.com")
    return (given or f"https://{service}.{region}.{suffix}").rstrip("/") + "/"


def signed(
    url: str, headers: dict[str, str], body: bytes, service: str, region: str, credentials: Credentials, stamp: str
) -> dict[str, str]:
    """The headers of a POST, with those that authorise it. `stamp` is now, as in 20260131T120000Z.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
    """
    parts = urlsplit(url)
    host = re.sub({"http": ":80$", "https": ":443$"}[parts.scheme], "", parts.netloc)
    sent = {**headers, "Host": host, "X-Amz-Date": stamp}
    if credentials.token:
        sent["X-Amz-Security-Token"] = credentials.token
    named = sorted((name.lower(), value) for name, value in sent.items())
    names = ";".join(name for name, _ in named)
    lines = ["POST", quote(parts.path, safe="/~"), "", *(f"{name}:{value}" for name, value in named), "", names]
    lines.append(hashlib.sha256(body).hexdigest())
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    key = f"AWS4{credentials.secret}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    text = "\n".join(("AWS4-HMAC-SHA256", stamp, scope, digest))
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    who = f"Credential={credentials.key}/{scope}, SignedHeaders={names}, Signature={signature}"
    return {**sent, "Authorization": f"AWS4-HMAC-SHA256 {who}"}


class AsItIs(HTTPErrorProcessor):
    """A refusal is an answer, to be read; and no redirection is followed, with our signature, to elsewhere."""

    def http_response(self, request: Any, response: Any) -> Any:
        return response

    https_response = http_response


def opener(environ: Mapping[str, str], *handlers: BaseHandler) -> OpenerDirector:
    bundle = environ.get("AWS_CA_BUNDLE")
    try:
        context = ssl.create_default_context(cafile=bundle or None)
    except OSError as error:
        raise Failure(MISTAKEN, f"AWS_CA_BUNDLE: {bundle} cannot be read: {error}") from None
    return build(AsItIs(), HTTPSHandler(context=context), *handlers)


def answered(request: Request, opener: OpenerDirector) -> tuple[int, dict[str, Any]]:
    """Status and document. What may pass is tried again."""
    trouble = ""
    for wait in (*WAITS, None):
        try:
            with opener.open(request, timeout=PATIENCE) as response:
                status, document = response.status, parsed(response.read())
            if status < 500 and status != 429 and "Throttl" not in kind_of(document):
                return status, document
            trouble = f"HTTP {status} {kind_of(document)}".strip()
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            if isinstance(reason, ssl.SSLCertVerificationError):
                cure = "install ca-certificates in the image, or name a bundle in AWS_CA_BUNDLE"
                raise Failure(UNAVAILABLE, f"{request.host} is not trusted ({reason}): {cure}") from None
            trouble = str(reason) or type(reason).__name__
        if wait is not None:
            threading.Event().wait(wait)
    raise Failure(UNAVAILABLE, f"{request.host} does not answer ({trouble}): has the run a network that leads there?")


def parsed(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body.decode())
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def kind_of(answer: Mapping[str, Any]) -> str:
    """`AccessDeniedException`; empty where it is no error of AWS."""
    return str(answer.get("__type") or "").split("#")[-1]


def become(command: list[str], values: Mapping[str, str]) -> NoReturn:
    """Raises Failure where it cannot. Values are UTF-8, whatever the locale is."""
    if not command:
        raise Failure(USAGE, "usage: with-secrets.py COMMAND [ARGUMENT ...]")
    environment = {**os.environb, **{os.fsencode(name): value.encode() for name, value in values.items()}}
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):
        # By Python; what it becomes must not inherit that.
        signal.signal(ignored, signal.SIG_DFL)
    try:
        os.execvpe(command[0], command, environment)  # noqa: S606 - no shell is wanted
    except OSError as error:
        code = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
        raise Failure(code, f"{command[0]} cannot be executed: {error.strerror}") from None


def tell(message: str) -> None:
    lines = "".join(f"slipway: {line}\n" for line in message.splitlines())
    sys.stderr.write(lines)
    try:
        FAILURE.write_bytes(lines.encode("utf-8", "replace"))
    except OSError:
        # There is no such folder outside of SageMaker.
        return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
