"""What training jobs write, read from CloudWatch Logs: one stream for each instance, as one sequence of lines.

SageMaker names the streams `<job>/algo-<number>-<time>`; an instance that is replaced gets another stream.
https://docs.aws.amazon.com/sagemaker/latest/dg/logging-cloudwatch.html
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from threading import Event
from typing import Any

from slipway.adapters.aws.clients import Clients
from slipway.adapters.aws.failures import translated
from slipway.errors import NotFound
from slipway.status.sagemaker import log_lines

GROUP = "/aws/sagemaker/TrainingJobs"
_DOING = "read the logs of a training job"


def lines(clients: Clients, job: str, *, several: bool) -> Iterator[str]:
    """All there is so far, by time. With `several` instances each line begins with which of them wrote it."""
    yield from _Reader(clients, job, several).new()


def followed(clients: Clients, job: str, *, several: bool, over: Callable[[], bool], pause: float) -> Iterator[str]:
    """Lines as they come, asked for every `pause` seconds, until nothing has come for one pause after the job's end:
    CloudWatch has a line a little later than the job has said it."""
    reader = _Reader(clients, job, several)
    ended = late = False
    while True:
        ended = ended or over()
        quiet = True
        for line in reader.new():
            quiet = False
            yield line
        if late and quiet:
            return
        late = ended
        Event().wait(pause)


class _Reader:
    """Remembers how far it has read each stream."""

    def __init__(self, clients: Clients, job: str, several: bool) -> None:
        self._clients, self._job, self._several = clients, job, several
        self._tokens: dict[str, str] = {}

    def new(self) -> Iterator[str]:
        streams = [self._stream(name) for name in self._names()]
        for _, line in heapq.merge(*streams, key=lambda each: each[0]):
            yield line

    def _names(self) -> list[str]:
        pages = self._clients.logs.get_paginator("describe_log_streams")
        try:
            with translated(_DOING):
                found = pages.paginate(logGroupName=GROUP, logStreamNamePrefix=f"{self._job}/")
                return [stream["logStreamName"] for page in found for stream in page["logStreams"]]
        except NotFound:  # no job of this account has written yet
            return []

    def _stream(self, name: str) -> Iterator[tuple[int, str]]:
        """What is new in it, with its time. AWS repeats the token that it was given when there is no more.
        https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_GetLogEvents.html"""
        before = f"{_instance(name)} " if self._several else ""
        while True:
            asked = self._tokens.get(name)
            page = self._page(name, asked)
            yield from _timed(page["events"], before)
            self._tokens[name] = page["nextForwardToken"]
            if page["nextForwardToken"] == asked:
                return

    def _page(self, name: str, token: str | None) -> Mapping[str, Any]:
        with translated(_DOING):
            if token is None:
                return self._clients.logs.get_log_events(logGroupName=GROUP, logStreamName=name, startFromHead=True)
            return self._clients.logs.get_log_events(
                logGroupName=GROUP, logStreamName=name, startFromHead=True, nextToken=token
            )


def _timed(events: Iterable[Mapping[str, Any]], before: str) -> Iterator[tuple[int, str]]:
    known = list(events)
    for event, line in zip(known, log_lines(known), strict=True):
        yield event.get("timestamp", 0), before + line


def _instance(stream: str) -> str:
    """`algo-1`, of `job/algo-1-1700000000`."""
    return stream.rpartition("/")[2].rpartition("-")[0]
