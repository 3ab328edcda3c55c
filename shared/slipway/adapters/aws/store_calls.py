"""The calls on the Store's table: consistent reads, queries page by page, and writes that say what refused them.

A write is one action, or several that are done together or not at all; each may have a condition. A condition that does
not hold is an answer, not an error, and brings the record as it is now, so that nobody needs to read it again.
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from threading import Event
from typing import TYPE_CHECKING, Any

from slipway.adapters.aws.failures import code_of, translated
from slipway.adapters.aws.store_table import Attributes, number
from slipway.errors import Permanent, Refused

if TYPE_CHECKING:
    from botocore.exceptions import ClientError
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef

    from slipway.adapters.aws.clients import Clients

TRIES = 8
"""Of a write that meets another transaction on the same record, and of a read that is answered in part."""
LONGEST_WAIT = 0.5
"""Seconds, between two of them."""
BATCH = 100
"""Records in one read."""

_THROTTLED = frozenset({"ThrottlingError", "ProvisionedThroughputExceeded", "RequestLimitExceeded"})
"""As the reason of a cancelled transaction."""

Action = dict[str, dict[str, Any]]
"""`{"Update": {...}}`: as in a transaction, and the parameters of the single call too."""


class Table:
    """One table. `doing` says what a call is for, in the words of the error that it may end in."""

    def __init__(self, clients: Clients, name: str) -> None:
        self._clients = clients
        self._name = name

    def read(self, doing: str, key: Attributes) -> Attributes | None:
        with translated(doing):
            return self._clients.dynamodb.get_item(TableName=self._name, Key=key, ConsistentRead=True).get("Item")

    def read_all(self, doing: str, keys: Sequence[Attributes]) -> list[Attributes]:
        """Those that are there, in any order."""
        found: list[Attributes] = []
        for start in range(0, len(keys), BATCH):
            found += self._read_batch(doing, keys[start : start + BATCH])
        return found

    def query(
        self,
        doing: str,
        where: str,
        values: Mapping[str, AttributeValueTypeDef],
        *,
        index: str | None = None,
        only: str | None = None,
        newest_first: bool = False,
        page: int | None = None,
    ) -> Iterator[Attributes]:
        """In the order of the sort key, a page at a time as they are asked for. `only` is a filter over the `page`
        records that are read at once. Without an index it is consistent."""
        for answer in self._pages(doing, where, values, index, only, newest_first, page):
            yield from answer["Items"]

    def count(
        self, doing: str, where: str, values: Mapping[str, AttributeValueTypeDef], *, index: str, limit: int
    ) -> int:
        """Up to `limit`."""
        found = 0
        for answer in self._pages(doing, where, values, index, page=limit, Select="COUNT"):
            found += answer["Count"]
            if found >= limit:
                return limit
        return found

    def put(self, doing: str, record: Attributes) -> None:
        """Whatever was there is replaced."""
        self.write(doing, {"Put": {"TableName": self._name, "Item": record}})

    def delete(self, key: Attributes) -> Action:
        """Whether or not it is there."""
        return {"Delete": {"TableName": self._name, "Key": key}}

    def save(self, key: Attributes, loaded: int, attributes: Attributes, known: Sequence[str] = ()) -> Action:
        """Makes the record (`loaded` 0), or takes it from that version to the next. Of the `known` attributes, those
        that are not given are removed."""
        absent = [name for name in known if name not in attributes and name != "version"]
        values = {f":{name}": value for name, value in attributes.items()} | {":next": number(loaded + 1)}
        setting = ", ".join(["version = :next", *(f"{name} = :{name}" for name in attributes)])
        expression = f"SET {setting}" + (f" REMOVE {', '.join(absent)}" if absent else "")
        if loaded == 0:
            return self.update(key, expression, values, "attribute_not_exists(pk)")
        return self.update(key, expression, values | {":loaded": number(loaded)}, "version = :loaded")

    def update(
        self,
        key: Attributes,
        expression: str,
        values: Mapping[str, AttributeValueTypeDef] | None = None,
        condition: str | None = None,
    ) -> Action:
        update: dict[str, Any] = {"TableName": self._name, "Key": key, "UpdateExpression": expression}
        if values:
            update["ExpressionAttributeValues"] = values
        if condition is not None:
            update |= {"ConditionExpression": condition, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
        return {"Update": update}

    def write(self, doing: str, *actions: Action) -> Mapping[int, Attributes | None]:
        """Does all actions or none. Empty when they are done; otherwise the number of each action whose condition did
        not hold, with the record as it is, None where there is none.

        Raises Refused when other transactions on the same records were in the way each time: nothing was written."""
        from botocore.exceptions import ClientError

        for attempt in range(TRIES):
            with translated(doing):
                try:
                    self._send(actions)
                except ClientError as error:
                    failed = _failed(error, doing)
                    if failed:
                        return failed
                else:
                    return {}
            _wait(attempt)
        raise Refused(f"cannot {doing}: other transactions on the same record were in the way {TRIES} times")

    def _send(self, actions: Sequence[Action]) -> None:
        client = self._clients.dynamodb
        if len(actions) > 1:
            # boto3 adds a token, by which a call that it repeats after a lost answer is not done twice.
            client.transact_write_items(TransactItems=[*actions])  # type: ignore[list-item]
            return
        ((kind, parameters),) = actions[0].items()
        calls: Mapping[str, Callable[..., object]] = {
            "Put": client.put_item,
            "Update": client.update_item,
            "Delete": client.delete_item,
        }
        calls[kind](**parameters)

    def _read_batch(self, doing: str, keys: Sequence[Attributes]) -> list[Attributes]:
        found: list[Attributes] = []
        asked: Mapping[str, Any] = {self._name: {"Keys": keys, "ConsistentRead": True}}
        for attempt in range(TRIES):
            with translated(doing):
                answer = self._clients.dynamodb.batch_get_item(RequestItems=asked)
            got = answer["Responses"].get(self._name, [])
            found += got
            # Over 16 MB, or throttled: the rest is to be asked for again.
            asked = answer.get("UnprocessedKeys") or {}
            if not asked:
                return found
            if not got:
                _wait(attempt)
        raise Refused(f"cannot {doing}: DynamoDB answered in part {TRIES} times")

    def _pages(
        self,
        doing: str,
        where: str,
        values: Mapping[str, AttributeValueTypeDef],
        index: str | None = None,
        only: str | None = None,
        newest_first: bool = False,
        page: int | None = None,
        **more: Any,
    ) -> Iterator[Any]:
        asked: dict[str, Any] = {
            "TableName": self._name,
            "KeyConditionExpression": where,
            "ExpressionAttributeValues": values,
            "ScanIndexForward": not newest_first,
            **({"IndexName": index} if index else {"ConsistentRead": True}),
            **({"FilterExpression": only} if only else {}),
            **({"Limit": page} if page else {}),
            **more,
        }
        while True:
            with translated(doing):
                answer = self._clients.dynamodb.query(**asked)
            yield answer
            if "LastEvaluatedKey" not in answer:
                return
            asked["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


def _failed(error: ClientError, doing: str) -> Mapping[int, Attributes | None]:
    """The actions whose condition did not hold. Empty where another transaction was in the way; raises otherwise."""
    code, answer = code_of(error), error.response
    if code == "ConditionalCheckFailedException":
        return {0: answer.get("Item")}  # type: ignore[dict-item]
    if code == "TransactionConflictException":
        return {}
    if code != "TransactionCanceledException":
        raise error
    reasons: Sequence[Mapping[str, Any]] = answer.get("CancellationReasons", ())
    codes = [str(reason.get("Code", "None")) for reason in reasons]
    failed = {n: reasons[n].get("Item") for n, code in enumerate(codes) if code == "ConditionalCheckFailed"}
    if failed or "TransactionConflict" in codes:
        return failed
    said = "; ".join(f"{reason.get('Message')} ({code})" for reason, code in zip(reasons, codes, strict=True))
    if _THROTTLED.intersection(codes):
        raise Refused(f"cannot {doing}: {said}") from error
    raise Permanent(f"cannot {doing}: {said}") from error


def _wait(attempt: int) -> None:
    """Longer each time, and not as long as the others who met here."""
    Event().wait(random.uniform(0.1, 1.0) * min(0.02 * 2.0**attempt, LONGEST_WAIT))  # noqa: S311
