"""moto with less work for the same answers, for tests of thousands of calls.

Before each transaction moto's DynamoDB copies the whole table, deeply, to put it back if a condition fails. Only the
records of the transaction can change in it, so only those are copied deeply here. And for each call moto looks anew for
what services it has.
"""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import botocore.session
import pytest
from botocore.loaders import Loader, create_loader
from moto import backends
from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.models.table import Table


def quick_moto(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the test is over."""
    transact = DynamoDBBackend.transact_write_items
    touched: list[tuple[Any, Any]] = []

    def alone(backend: DynamoDBBackend, actions: list[dict[str, Any]]) -> None:
        # DynamoDB's calls come one at a time: see moto_server.
        touched[:] = [_place(backend, parameters) for action in actions for parameters in action.values()]
        transact(backend, actions)

    def copied(table: Table, memo: dict[int, Any]) -> Table:
        other = copy.copy(table)
        other.items = table.items.copy()
        for partition, sort in touched:
            if partition in table.items:
                other.items[partition] = copy.copy(table.items[partition])
                if sort in table.items[partition]:
                    other.items[partition][sort] = copy.deepcopy(table.items[partition][sort])
        return other

    monkeypatch.setattr(botocore.session, "create_loader", _one_loader)
    services = list(backends.list_of_moto_modules())
    monkeypatch.setattr(backends, "list_of_moto_modules", lambda: services)
    monkeypatch.setattr(DynamoDBBackend, "transact_write_items", alone)
    monkeypatch.setattr(Table, "__deepcopy__", copied, raising=False)


@cache
def _one_loader(search_path: str | None = None) -> Loader:
    return create_loader(search_path)


def _place(backend: DynamoDBBackend, parameters: dict[str, Any]) -> tuple[Any, Any]:
    key = parameters.get("Key") or parameters["Item"]
    return backend.get_keys_value(backend.get_table(parameters["TableName"]), key)
