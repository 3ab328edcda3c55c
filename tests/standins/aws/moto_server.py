"""moto as a server on loopback: SQS, DynamoDB, S3, ECR, logs and more, spoken to by the unmodified boto3.

One per test process; a test's tables, queues and buckets have names of their own, so that no test sees another's.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from moto.server import ThreadedMotoServer

ACCOUNT = "123456789012"
"""The account that moto plays."""
REGION = "eu-west-1"


@contextmanager
def moto_server() -> Iterator[str]:
    """Its URL, as long as the block runs."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


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
