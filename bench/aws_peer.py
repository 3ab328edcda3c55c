"""What a user would write instead: a function with one client of boto3 that reads one record. Runs in the emulator."""

import os

import boto3

client = boto3.client("dynamodb")


def handler(event, context):  # type: ignore[no-untyped-def]
    key = {"pk": {"S": "queues"}, "sk": {"S": "none"}}
    return client.get_item(TableName=os.environ["SLIPWAY_TABLE"], Key=key, ConsistentRead=True).get("Item")
