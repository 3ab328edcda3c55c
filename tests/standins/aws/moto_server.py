"""moto as a server on loopback: SQS, DynamoDB, S3, ECR, logs and more, spoken to by the unmodified boto3.

One per test process; a test's tables, queues and buckets have names of their own, so that no test sees another's.

moto answers every call in a thread of its own, and its DynamoDB knows no locks: of two saves at once both may pass the
same condition, and a transaction that is cancelled puts back a copy of the whole table, without what others have
written meanwhile. DynamoDB does neither, so calls of it are let through one at a time here.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

ACCOUNT = "123456789012"
"""The account that moto plays."""
REGION = "eu-west-1"
HTPASSWD = "AWS:$2b$05$TDMarMnGhYl0GrGyHItzueWo1MbhzKULuA8GrpQKRiiXVsDjsmyle\n"
"""For a registry that plays ECR: bcrypt of the password that moto's ECR hands out."""


@contextmanager
def moto_server(host: str = "127.0.0.1") -> Iterator[str]:
    """Its URL, as long as the block runs. `host` is an address of this machine that its callers can reach."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    app = _dynamodb_one_at_a_time(DomainDispatcherApplication(create_backend_app))
    server = make_server(host, 0, app, threaded=True, request_handler=MotoRequestHandler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://{host}:{server.port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def environment(url: str, **services: str) -> Mapping[str, str]:
    """What leads boto3 there (`services`, as in sagemaker="http://…", elsewhere); nothing of this machine's own AWS."""
    return {
        "AWS_ENDPOINT_URL": url,
        **{f"AWS_ENDPOINT_URL_{service.upper()}": elsewhere for service, elsewhere in services.items()},
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        # AWS's own example of a key.
        "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }


def unique(name: str) -> str:
    """A name for a table, queue or bucket that no other test has."""
    return f"{name}-{uuid.uuid4().hex[:12]}"


def _dynamodb_one_at_a_time(app: WSGIApplication) -> WSGIApplication:
    lock = threading.Lock()

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if not environ.get("HTTP_X_AMZ_TARGET", "").startswith("DynamoDB_"):
            return app(environ, start_response)
        with lock:
            return list(app(environ, start_response))

    return answer
