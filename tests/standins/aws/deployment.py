"""What the template makes, made on moto: a table, a bucket, the queues with their dead letters; and what the functions
are told of it.
"""

from __future__ import annotations

import json

from tests.standins.aws.moto_server import ACCOUNT, REGION

from slipway.adapters.aws.clients import Clients
from slipway.adapters.aws.store_table import table_definition
from slipway.model import Topic

MAX_RECEIVES = 5
ROLE = f"arn:aws:iam::{ACCOUNT}:role/training"


def made(aws: Clients, name: str, *, destination: str, **environment: str) -> dict[str, str]:
    """The environment of the deployment's functions, `environment` over it. Everything is called `name`, and the queue
    of a topic `name-topic`."""
    aws.dynamodb.create_table(**table_definition(name))
    aws.s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})  # type: ignore[typeddict-item]
    queues: dict[str, str] = {}
    for topic in Topic:
        dead = aws.sqs.create_queue(QueueName=f"{name}-{topic}-dead")["QueueUrl"]
        policy = {"deadLetterTargetArn": queue_arn(dead), "maxReceiveCount": MAX_RECEIVES}
        queue = aws.sqs.create_queue(QueueName=f"{name}-{topic}", Attributes={"RedrivePolicy": json.dumps(policy)})
        queues |= {f"SLIPWAY_QUEUE_{topic.upper()}": queue["QueueUrl"], f"SLIPWAY_DEAD_{topic.upper()}": dead}
    return {
        **queues,
        "SLIPWAY_TABLE": name,
        "SLIPWAY_BUCKET": name,
        "SLIPWAY_CODEBUILD_PROJECT": name,
        "SLIPWAY_DESTINATION": destination,
        "SLIPWAY_AWS_ACCOUNT": ACCOUNT,
        "SLIPWAY_TRAINING_ROLE": ROLE,
        "SLIPWAY_OUTPUT": f"s3://{name}/output",
        "POWERTOOLS_SERVICE_NAME": "slipway",
        "POWERTOOLS_METRICS_NAMESPACE": "Slipway",
        "POWERTOOLS_TRACE_DISABLED": "true",
        **environment,
    }


def queue_arn(url: str) -> str:
    return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{url.rpartition('/')[2]}"
