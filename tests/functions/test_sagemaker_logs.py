"""The log of a training job, put together from the streams of its instances."""

from __future__ import annotations

import itertools
import time
from typing import Any

import pytest
from tests.standins.aws.moto_server import unique

from slipway.adapters.aws.clients import Clients
from slipway.adapters.aws.training_logs import GROUP, followed, lines

NOW = int(time.time() * 1000)
"""CloudWatch Logs takes what is of the last 14 days."""


@pytest.fixture
def job(aws: Clients) -> str:
    """A job whose log group is there."""
    if not aws.logs.describe_log_groups(logGroupNamePrefix=GROUP)["logGroups"]:
        aws.logs.create_log_group(logGroupName=GROUP)
    return unique("job")


def write(aws: Clients, stream: str, *said: tuple[int, str]) -> None:
    """Lines, each with its time in milliseconds from now."""
    if not aws.logs.describe_log_streams(logGroupName=GROUP, logStreamNamePrefix=stream)["logStreams"]:
        aws.logs.create_log_stream(logGroupName=GROUP, logStreamName=stream)
    events: list[Any] = [{"timestamp": NOW + at, "message": line} for at, line in said]
    if events:
        aws.logs.put_log_events(logGroupName=GROUP, logStreamName=stream, logEvents=events)


def test_lines_of_several_streams_are_in_the_order_of_their_times(aws: Clients, job: str) -> None:
    write(aws, f"{job}/algo-1-1700000000", (1, "a"), (1, "b"), (4, "e"))
    write(aws, f"{job}/algo-2-1700000001", (2, "c"), (3, "d"))
    assert list(lines(aws, job, several=True)) == ["algo-1 a", "algo-1 b", "algo-2 c", "algo-2 d", "algo-1 e"]


def test_an_instance_that_was_replaced_goes_on_where_the_first_stopped(aws: Clients, job: str) -> None:
    write(aws, f"{job}/algo-1-1700000900", (5, "resumed"))
    write(aws, f"{job}/algo-1-1700000000", (1, "begun"))
    assert list(lines(aws, job, several=False)) == ["begun", "resumed"]


def test_a_log_of_many_pages_is_read_to_its_end(aws: Clients, job: str) -> None:
    said = [(number, f"line {number}") for number in range(12_000)]
    write(aws, f"{job}/algo-1-1700000000", *said[:6_000])
    write(aws, f"{job}/algo-1-1700000000", *said[6_000:])
    assert list(lines(aws, job, several=False)) == [line for _, line in said]


def test_another_job_whose_name_begins_the_same_has_a_log_of_its_own(aws: Clients, job: str) -> None:
    write(aws, f"{job}-2/algo-1-1700000000", (1, "theirs"))
    assert list(lines(aws, job, several=False)) == []


def test_lines_that_arrive_after_the_end_are_followed_too(aws: Clients, job: str) -> None:
    """The job is over, and its stream is still empty when it is read to its end, which takes two calls."""
    stream = f"{job}/algo-1-1700000000"
    write(aws, stream)
    calls = itertools.count(1)

    def answered(**_: Any) -> None:
        if next(calls) == 2:
            write(aws, stream, (1, "late"))

    aws.logs.meta.events.register("after-call.cloudwatch-logs.GetLogEvents", answered)
    assert list(followed(aws, job, several=False, over=lambda: True, pause=0.01)) == ["late"]
