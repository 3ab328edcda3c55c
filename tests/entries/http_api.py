"""The real HTTP application over a Slipway in memory, asked without a network."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
from fastapi import FastAPI
from tests.functions.world import World

from slipway.keys import EVERY_ENTITY, new_key
from slipway.web.app import create_app

IMAGE = {"project": "digits", "queue": "gpu", "docker": {"docker_image": "img"}}
QUEUE = {"resource": "local-container", "max_jobs": 2}


@dataclass
class Api:
    """`key` is sent with every request, None sends none."""

    world: World = field(default_factory=World)
    keyless: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    key: str | None = None
    host: str = "localhost"

    def __post_init__(self) -> None:
        self.app: FastAPI = create_app(
            self.world.ports, keyless=self.keyless, **{"look_every": 0.01, **dict(self.options)}
        )
        if self.key is None and not self.keyless:
            self.key = self.new_key(EVERY_ENTITY)

    def new_key(self, entity: str) -> str:
        text, key = new_key(entity, "test", self.world.ports.entropy, self.world.clock.now())
        self.world.store.save_key(key)
        return text

    def ask(self, method: str, path: str, document: Any = None, **options: Any) -> httpx.Response:
        headers = dict(options.pop("headers", {}))
        key = options.pop("key", self.key)
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        if document is not None:
            options["content"] = json.dumps(document)
            headers["Content-Type"] = "application/json"
        self.world.clock.advance(0.001)

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url=f"http://{self.host}", timeout=30) as client:
                return await client.request(method, path, headers=headers, **options)

        return asyncio.run(send())

    def put_queue(self, entity: str = "team", name: str = "gpu", **fields: Any) -> None:
        answer = self.ask("PUT", f"/v1/queues/{entity}/{name}", {**QUEUE, **fields})
        assert answer.status_code in (200, 201), answer.text

    def submit(self, entity: str = "team", **fields: Any) -> str:
        answer = self.ask("POST", "/v1/items", {"entity": entity, **IMAGE, **fields})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])


def error_of(answer: httpx.Response) -> dict[str, Any]:
    return dict(answer.json()["error"])
