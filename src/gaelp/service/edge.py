"""Around every request: its id, the size of its body, its count and its time."""

import re
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from gaelp.service.errors import TooLarge, on_gaelp_error
from gaelp.service.metrics import Metrics

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

_ID = re.compile(rb"[\w.:-]{1,64}")
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE")


class Edge:
    """Wraps an application.

    Args:
        app: what is wrapped. metrics: counts. paths: that are counted by name, all others together.
        most: bytes of a body, by path; `None` stands for all others.
    """

    def __init__(
        self, app: App, metrics: Metrics, paths: frozenset[str], most: dict[str | None, int]
    ) -> None:
        self._app, self._metrics, self._paths, self._most = app, metrics, paths, most

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        request_id = given if _ID.fullmatch(given) else secrets.token_hex(8).encode()
        path = scope["path"] if scope["path"] in self._paths else "other"
        status = 500

        async def tell(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id)]
            await send(message)

        try:
            body = await _read(headers, receive, self._most.get(path, self._most[None]))
            if isinstance(body, TooLarge):
                await (await on_gaelp_error(None, body))(scope, receive, tell)  # type: ignore[arg-type]
            else:
                await self._app(scope, _replay(body, receive), tell)
        finally:
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._metrics.requests.labels(method, path, status).inc()
            self._metrics.seconds.labels(path).observe(time.perf_counter() - start)


async def _read(headers: dict[bytes, bytes], receive: Receive, most: int) -> bytes | TooLarge:
    told = headers.get(b"content-length", b"0")
    size = int(told) if told.isdigit() and len(told) < 16 else 0
    parts: list[bytes] = []
    length, more = 0, size <= most
    while more:
        message = await receive()
        if message["type"] != "http.request":
            break
        parts.append(message.get("body", b""))
        length += len(parts[-1])
        more = message.get("more_body", False) and length <= most
    if max(size, length) > most:
        allowed = f"must be at most {most} bytes"
        return TooLarge("body", max(size, length), allowed, "Send less, or in parts.")
    return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    told = False

    async def replay() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
