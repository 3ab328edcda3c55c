"""AWS's list prices in us-east-1, in dollars, each with its page; and what is assumed where nothing can be counted.

As published in March 2026. They change, and other regions cost up to a third more: look before you decide on a cent.
"""

from __future__ import annotations

from dataclasses import dataclass

AS_OF = "2026-03"
HOURS = 730
"""Of a month, as AWS counts."""
MILLION = 1e6


@dataclass(frozen=True)
class Price:
    dollars: float
    """Of one unit."""
    unit: str
    page: str
    free: float = 0.0
    """Units a month that AWS bills nobody for: of the whole account, and for good."""


# Events of AWS's own services cost nothing on EventBridge, and AWS's own keys nothing at KMS.
PRICES = {
    "Lambda, compute": Price(0.0000166667, "GB-second", "https://aws.amazon.com/lambda/pricing/", free=400_000),
    "Lambda, requests": Price(0.20 / MILLION, "invocation", "https://aws.amazon.com/lambda/pricing/", free=MILLION),
    "API Gateway": Price(1.00 / MILLION, "HTTP API request", "https://aws.amazon.com/api-gateway/pricing/"),
    "SQS": Price(0.40 / MILLION, "request", "https://aws.amazon.com/sqs/pricing/", free=MILLION),
    "DynamoDB, writes": Price(
        0.625 / MILLION, "write request unit", "https://aws.amazon.com/dynamodb/pricing/on-demand/"
    ),
    "DynamoDB, reads": Price(
        0.125 / MILLION, "read request unit", "https://aws.amazon.com/dynamodb/pricing/on-demand/"
    ),
    "Scheduler": Price(1.00 / MILLION, "invocation", "https://aws.amazon.com/eventbridge/pricing/", free=14 * MILLION),
    "CloudWatch, logs": Price(0.50, "GB taken in", "https://aws.amazon.com/cloudwatch/pricing/", free=5),
    "CloudWatch, metrics": Price(0.30, "custom metric", "https://aws.amazon.com/cloudwatch/pricing/", free=10),
    "CloudWatch, alarms": Price(0.10, "metric of an alarm", "https://aws.amazon.com/cloudwatch/pricing/", free=10),
    "CloudWatch, dashboard": Price(3.00, "dashboard", "https://aws.amazon.com/cloudwatch/pricing/", free=3),
    "X-Ray": Price(5.00 / MILLION, "trace", "https://aws.amazon.com/xray/pricing/", free=100_000),
    "S3, writes": Price(0.005 / 1000, "PUT", "https://aws.amazon.com/s3/pricing/"),
    "S3, reads": Price(0.0004 / 1000, "GET", "https://aws.amazon.com/s3/pricing/"),
}

T3_MICRO = 0.0104 * HOURS + 8 * 0.08 + 0.005 * HOURS
"""A month of a t3.micro, its 8 GB gp3 disk and its public IPv4 address.
https://aws.amazon.com/ec2/pricing/on-demand/, https://aws.amazon.com/ebs/pricing/, https://aws.amazon.com/vpc/pricing/"""
POD = (0.04048 + 0.004445) * HOURS
"""A month of 1 vCPU and 1 GB at Fargate's rates (it sells 1 vCPU with 2 GB at least), without a cluster's own.
https://aws.amazon.com/fargate/pricing/"""

WAITS = {"dynamodb": 0.005, "sqs": 0.010, "s3": 0.030, "ecr": 0.050, "codebuild": 0.200, "sagemaker": 0.200}
"""Seconds that a call waits for AWS, assumed: nobody documents them, and here everything is on loopback."""
FETCH = 3.0
"""Seconds in which `build` fetches and packs a source, assumed for a small repository."""
PLATFORM_LOG = 520
"""Bytes of Lambda's own lines about an invocation (START, END, REPORT), with the 26 that CloudWatch adds to each."""
ACCESS_LOG = 320
"""Bytes of API Gateway's line about a request, in the template's format."""
POLLERS, POLL_SECONDS = 5, 20.0
"""Of Lambda, for each queue, for as long as it is empty: where MaximumConcurrency is set it keeps all five.
https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html"""
