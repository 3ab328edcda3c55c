"""What Slipway itself costs on AWS: dollars of 1,000 launches and of a month in which nothing is launched.

Counts (bench.aws_calls) times list prices (bench.aws_prices). Only Lambda's compute is an estimate: the CPU of a warm
invocation as measured here, and what its calls may wait for AWS, times the memory that the template gives it.

    python -m bench.aws_cost      prints the tables of docs/bench.md
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from tests.house.sam_template import Deployed

from bench import aws_calls, aws_cold
from bench.aws_calls import GIT, IDLE, IMAGE, LOOK, Use
from bench.aws_prices import (
    ACCESS_LOG,
    FETCH,
    HOURS,
    PLATFORM_LOG,
    POD,
    POLL_SECONDS,
    POLLERS,
    PRICES,
    T3_MICRO,
    WAITS,
)
from bench.figure import Figure

LAUNCHES = 1000
TICKS = HOURS * 60
LOOKS = 12
"""At a running job in an hour."""
CPU = 0.010
"""Seconds of a warm invocation, where none was measured."""


@dataclass(frozen=True)
class Table:
    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


Units = Mapping[str, float]
"""Of what PRICES names."""


def figures() -> Iterator[Figure]:
    image, git, idle = (dollars(each) for each in (_launches(IMAGE), _launches(GIT), _idle()))
    yield Figure("AWS, 1,000 launches with their images there (estimate, list prices)", f"${image:.2f}", "")
    yield Figure("AWS, 1,000 launches from git, without CodeBuild's own price", f"${git:.2f}", "")
    free = dollars(_idle(), free=True)
    yield Figure("AWS, a month in which nothing is launched; less what is always free", f"${idle:.2f}; ${free:.2f}", "")
    bare = dollars({name: units for name, units in _idle().items() if not name.startswith("CloudWatch, ")})
    yield Figure("the same without alarms, dashboard, metrics and logs", f"${bare:.2f}", "")
    yield Figure("beside it: a t3.micro, a pod of 1 CPU and 1 GB, always on", f"${T3_MICRO:.2f}, ${POD:.2f}", "")


def tables() -> Iterator[Table]:
    steps = _steps()
    rows = []
    for name, use in steps.items():
        services = [_calls(use.of(service)) for service in ("dynamodb", "sqs", "sagemaker")]
        others = {name: number for each in ("ecr", "codebuild", "s3") for name, number in use.of(each).items()}
        rows.append([name, *services, _calls(others), f"{use.reads:g} + {use.writes:g}"])
    header = ["step", "DynamoDB", "SQS", "SageMaker", "ECR, CodeBuild, S3", "read + write units"]
    yield Table("Calls of each step, in warm processes, with a cap on the queue", header, rows)
    columns = [_launches(IMAGE), _launches(GIT), _running(), _idle()]
    rows = [
        [
            name,
            f"${price.dollars * 1e6:.4g} / 1 M" if price.dollars < 0.001 else f"${price.dollars:.2f}",
            *(_price(each.get(name, 0.0), price.dollars) for each in columns),
        ]
        for name, price in PRICES.items()
        if any(each.get(name) for each in columns)
    ]
    rows.append(["**all**", "", *(f"**${dollars(each):.2f}**" for each in columns)])
    header = ["", "list price", "1,000 launches, image there", "1,000 launches from git"]
    yield Table("Dollars", [*header, "1,000 hours of running jobs", "idle month"], rows)


def dollars(units: Units, *, free: bool = False) -> float:
    """`free`: less what AWS bills nobody for, as if nothing else were in the account."""
    return sum(
        PRICES[name].dollars * max(0.0, number - (PRICES[name].free if free else 0.0)) for name, number in units.items()
    )


@cache
def _steps() -> Mapping[str, Use]:
    return aws_calls.steps()


def _launches(steps: Sequence[str]) -> Units:
    uses = [_steps()[step] for step in steps]
    return {name: units * LAUNCHES for name, units in _of(sum(uses[1:], start=uses[0])).items()}


def _running() -> Units:
    """A look's own share of a tick, that comes anyway: 1,000 hours of jobs, looked at every five minutes."""
    idle, look = _of(_steps()[IDLE]), _of(_steps()[LOOK])
    more = {name: (look[name] - idle[name]) * LOOKS * LAUNCHES for name in look}
    return {name: units for name, units in more.items() if units > 0}


def _idle() -> Units:
    """A month of ticks that find nothing, of Lambda's looks at three empty queues, and of what watches them."""
    template = Deployed()
    alarms = template.of_type("AWS::CloudWatch::Alarm").values()
    mappings = [
        event
        for function in template.functions().values()
        for event in function.get("Events", {}).values()
        if event["Type"] == "SQS"
    ]
    ticks = Counter({name: units * TICKS for name, units in _of(_steps()[IDLE]).items()})
    return ticks + Counter(
        {
            "SQS": len(mappings) * POLLERS * HOURS * 3600 / POLL_SECONDS,
            "Scheduler": TICKS,
            # DueItems and StuckItems, of one service.
            "CloudWatch, metrics": 2,
            "CloudWatch, alarms": sum(
                sum("MetricStat" in each for each in alarm["Metrics"]) if "Metrics" in alarm else 1 for alarm in alarms
            ),
            "CloudWatch, dashboard": len(template.of_type("AWS::CloudWatch::Dashboard")),
        }
    )


def _of(use: Use) -> Units:
    """What is billed for a step."""
    invocations = sum(use.invocations.values())
    return {
        "Lambda, compute": _compute(use),
        "Lambda, requests": invocations,
        "API Gateway": use.requests,
        # A message is received, and deleted, by Lambda.
        "SQS": sum(use.of("sqs").values()) + 2 * use.batches,
        "DynamoDB, writes": use.writes,
        "DynamoDB, reads": use.reads,
        "CloudWatch, logs": (use.log + invocations * PLATFORM_LOG + use.requests * ACCESS_LOG) / 1e9,
        # At least the first request of every second is sampled, so at this rate each is.
        "X-Ray": invocations,
        "S3, writes": use.of("s3").get("PutObject", 0),
        "S3, reads": use.of("s3").get("GetObject", 0),
    }


def _compute(use: Use) -> float:
    """GB-seconds, an estimate."""
    sizes = {
        function["Handler"].removeprefix("app."): function["MemorySize"] / 1024
        for function in Deployed().functions().values()
    }
    results = aws_cold.measured()
    total = 0.0
    for name, number in use.invocations.items():
        cpu = results.started[name].warm_cpu if results else CPU
        waits = sum(WAITS[service] * times for (function, service, _), times in use.calls.items() if function == name)
        fetching = FETCH if name == "build" else 0.0
        total += sizes[name] * ((cpu + fetching) * number + waits)
    return total


def _calls(operations: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {name}" if number > 1 else name for name, number in operations.items()) or "–"


def _price(units: float, price: float) -> str:
    return f"${units * price:.4f}" if units else "–"


def main() -> int:
    for table in tables():
        print(f"{table.title}:\n")
        print(f"| {' | '.join(table.header)} |\n|{'---|' * len(table.header)}")
        for row in table.rows:
            print(f"| {' | '.join(row)} |")
        print()
    for figure in figures():
        print(f"- {figure.what}: {figure.measured}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
