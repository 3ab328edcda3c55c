"""The functions on AWS: a trigger's envelope comes in, what happens is called, and the platform's answer goes out.

    submit    API Gateway (an HTTP API, payload 2.0); from whoever may invoke the function itself, an order
    advance   SQS: submissions, a user's own or EventBridge's, and ids of items
    build     SQS: ids of items whose source becomes an image
    observe   EventBridge: a training job or a build changed
    tick      EventBridge Scheduler: the clock

Each handler is a function of this name; the template beside this file says what triggers it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.logging import utils
from aws_lambda_powertools.metrics import MetricUnit

from slipway import keys, wire_aws
from slipway.errors import Invalid, Permanent, Problem, Temporary
from slipway.journal import journaled
from slipway.ports import Ports

STUCK = 900.0
"""Seconds past its due time after which an item is stuck: the clock has come by fifteen times, and did not help."""
FOLLOW = 10.0
"""Seconds for which a log is followed in one answer. API Gateway passes nothing on before its end, and waits for 30."""

LARGEST = 4 << 20
"""Bytes of a log in one answer. Lambda passes on 6 MB.
https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"""

Event = dict[str, Any]

logger = Logger()
metrics = Metrics()
tracer = Tracer(patch_modules=("botocore",))
utils.copy_config_to_registered_loggers(source_logger=logger, include={"slipway"})
# What people submit does not belong in traces.
traced = tracer.capture_lambda_handler(capture_response=False, capture_error=False)


@logger.inject_lambda_context
@traced
def submit(event: Event, context: Any) -> Any:
    if "requestContext" not in event:
        return _obey(event)
    from slipway.web import quick
    from slipway.web.answers import HEADERS, encoded

    request = event["requestContext"]["http"]
    answer = None
    if not event.get("isBase64Encoded"):
        answer = quick.answer(request["method"], event["rawPath"], event["headers"], event.get("body") or "", ports())
    if answer is None:
        return _api()(event, context)
    headers = {"Content-Type": "application/json", **HEADERS, **answer.headers}
    return {"statusCode": answer.status, "headers": headers, "body": encoded(answer.document).decode()}


@logger.inject_lambda_context
@traced
def advance(event: Event, context: Any) -> Any:
    return _deliver_all(event, context)


@logger.inject_lambda_context
@traced
def build(event: Event, context: Any) -> Any:
    return _deliver_all(event, context)


@logger.inject_lambda_context
@traced
def observe(event: Event, context: Any) -> None:
    from slipway.adapters.aws.events import changed
    from slipway.functions.observe import observe as look

    try:
        if (about := changed(event)) is not None:
            look(about, ports())
    except Permanent as error:
        # Coming again would not help; what there is to mend, the clock does.
        logger.warning(error.message)


@logger.inject_lambda_context
@traced
@metrics.log_metrics
def tick(event: Event, context: Any) -> None:
    from slipway.functions.tick import tick as look

    due = look(ports())
    # What is stuck was due before this tick already.
    stuck = ports().store.due(ports().clock.now() - STUCK) if due else ()
    metrics.add_metric("DueItems", MetricUnit.Count, due)
    metrics.add_metric("StuckItems", MetricUnit.Count, len(stuck))


@cache
def ports() -> Ports:
    """Made once per process."""
    made = wire_aws.aws(settings())
    return replace(made, store=journaled(made.store))


@cache
def settings() -> wire_aws.Settings:
    return wire_aws.settings_of(os.environ)


@cache
def _api() -> Callable[[Event, Any], Any]:
    """The whole HTTP API. Its framework is loaded by the first request that needs it."""
    import asyncio

    from mangum import Mangum

    from slipway.web.app import create_app

    adapter = Mangum(create_app(ports(), follow_for=FOLLOW, largest=LARGEST), lifespan="off")
    loop = asyncio.new_event_loop()

    def answer(event: Event, context: Any) -> Any:
        # Mangum takes the thread's loop, and a thread has none of its own accord.
        asyncio.set_event_loop(loop)
        return adapter(event, context)

    return answer


def _deliver_all(event: Event, context: Any) -> Any:
    """Side by side, and each on its own: one that fails comes again without the others."""
    from aws_lambda_powertools.utilities.batch import AsyncBatchProcessor, EventType, async_process_partial_response

    processor = AsyncBatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False)
    return async_process_partial_response(event, _deliver, processor, context)


async def _deliver(record: Any) -> None:
    import asyncio

    from slipway.adapters.aws.letters import message_of_record
    from slipway.functions.deliver import delivered

    message = message_of_record(settings().topic_of(record.event_source_arn), record.raw_event)
    if not await asyncio.to_thread(delivered, message, ports()):
        raise Temporary("handed back")


def _obey(order: Event) -> Any:
    """IAM has let this caller in: it is who owns the deployment, and needs a key to begin with."""
    if order.get("slipway") != "create-key":
        fix = 'Write {"slipway": "create-key", "entity": "*", "name": "admin"}.'
        raise Invalid(Problem("slipway", "is no order that this function takes", order.get("slipway"), fix))
    text, key = keys.new_key(
        str(order.get("entity", "")), str(order.get("name", "")), ports().entropy, ports().clock.now()
    )
    ports().store.save_key(key)
    return {"key": text, "entity": key.entity, "name": key.name}
