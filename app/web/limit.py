"""Requests of bounded size."""

import json

from fastapi import HTTPException, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.registry.accounts import RefusedError
from app.web.state import State

_BEARER = "bearer "


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
        announced = dict(scope["headers"]).get(b"content-length", b"")
        chunked = b"transfer-encoding" in dict(scope["headers"])
        allowed = self.most_of_strangers
        if chunked or (announced.isdigit() and int(announced) > allowed):
            allowed = self.most if await _is_known(Request(scope)) else allowed
        detail = f"the request is over {allowed} bytes"
        if announced.isdigit() and int(announced) > allowed:
            await _refuse(send, detail)
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
    except RefusedError:
        return False
    return True


async def _refuse(send: Send, detail: str) -> None:
    body = json.dumps({"detail": detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": body})
