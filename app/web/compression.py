"""Compression of pages, their messages and JSON, where nothing that a request brought can stand beside a secret.

The size of a compressed answer tells whether a text that somebody else put into the request occurs in it (BREACH).
Answers to requests with parameters or a body are therefore sent as they are, and the token of a session's forms looks
different in each page (`app.register.accounts.masked`)."""

from starlette.datastructures import Headers
from starlette.middleware.gzip import GZipMiddleware, GZipResponder
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LEAST_BYTES = 1000
_LEVEL = 5  # a long list takes milliseconds
_KINDS = ("text/html", "application/json", "text/javascript")


class _OfTexts(GZipResponder):
    async def send_with_compression(self, message: Message) -> None:
        await super().send_with_compression(message)
        if message["type"] == "http.response.start":
            kind = Headers(raw=message["headers"]).get("content-type", "").partition(";")[0]
            self.content_encoding_set = self.content_encoding_set or kind not in _KINDS


class Compress(GZipMiddleware):
    """Compresses answers to requests that bring nothing but an address."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(app, _LEAST_BYTES, _LEVEL)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_bare = scope["type"] == "http" and scope["method"] == "GET" and not scope["query_string"]
        if not is_bare or "gzip" not in Headers(scope=scope).get("accept-encoding", ""):
            await self.app(scope, receive, send)
            return
        await _OfTexts(self.app, self.minimum_size, compresslevel=self.compresslevel)(scope, receive, send)
