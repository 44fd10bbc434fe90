"""Requests of bounded size, and answers that arrive although a request was not read to its end."""

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress

from fastapi import HTTPException, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.register.accounts import LogInError
from app.register.errors import RegisterError
from app.web.state import State

_BEARER = "bearer "
_IDLE_SECONDS = 5.0  # a client that sends nothing for so long is not waited for


class LimitBody:
    """Refuses a request whose body is too large with status 413, before or while it is read.

    Args:
        most: bytes that somebody who is logged in may send.
        most_of_strangers: bytes of anybody else: enough for a log-in.
    """

    def __init__(self, app: ASGIApp, most: int, most_of_strangers: int) -> None:
        self.app = app
        self.most = most
        self.most_of_strangers = most_of_strangers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        announced = _announced(scope)
        allowed = self.most_of_strangers
        if announced is None or announced > allowed:
            try:
                allowed = self.most if await _is_known(Request(scope)) else allowed
            except RegisterError as error:  # the database is away or busy, and nobody can be known
                after = {} if error.retry_after is None else {"retry-after": str(error.retry_after)}
                await _refuse(send, 503, scope["app"].state.register.told(error), after)
                return
        detail = f"the request is over {allowed} bytes"
        if announced is not None and announced > allowed:
            await _refuse(send, 413, detail)
            return
        read = 0

        async def limited() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > allowed:
                raise HTTPException(413, detail)  # answered by the app, which is reading
            return message

        await self.app(scope, limited, send)


class ReadOut:
    """Reads what is left of a request after its answer, and drops it.

    A server that closes a connection with bytes unread resets it, and the client, still sending, never sees the answer.

    Args:
        most: bytes that are read; whoever sends more is cut off.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self.app = app
        self.most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _announced(scope) == 0:
            await self.app(scope, receive, send)
            return
        ended = False

        async def watched() -> Message:
            nonlocal ended
            message = await receive()
            ended = ended or message["type"] != "http.request" or not message.get("more_body", False)
            return message

        async def read_out() -> None:
            read = 0
            with suppress(TimeoutError):
                while not ended and read <= self.most:
                    async with asyncio.timeout(_IDLE_SECONDS):
                        read += len((await watched()).get("body", b""))

        async def answered(message: Message) -> None:
            last = message["type"] == "http.response.body" and not message.get("more_body", False)
            if not last or ended:
                await send(message)
                return
            await send({**message, "more_body": True})  # the client has its answer before the rest is read
            await read_out()
            await send({"type": "http.response.body", "body": b""})

        await self.app(scope, watched, answered)


def _announced(scope: Scope) -> int | None:
    """Bytes that a request says its body has; None if it does not say."""
    headers = dict(scope["headers"])
    if b"transfer-encoding" in headers:
        return None
    length = headers.get(b"content-length", b"0")
    return int(length) if length.isdigit() else None


async def _is_known(request: Request) -> bool:
    """Whether a session or a token comes with a request."""
    state = request.app.state.register
    header = request.headers.get("authorization", "")
    is_token = header.lower().startswith(_BEARER)
    secret = header[len(_BEARER) :] if is_token else request.cookies.get("session", "")
    if not secret or not isinstance(state, State):
        return False
    try:
        await state.aside(state.accounts.who, secret, "token" if is_token else "session")
    except LogInError:
        return False
    return True


async def _refuse(send: Send, status: int, detail: str, more: Mapping[str, str] | None = None) -> None:
    body = json.dumps({"detail": detail}).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), **(more or {})}
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
