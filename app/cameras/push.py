"""Photographs that cameras send by HTTP: a form with images, and the plate that the camera read, or the image alone."""

import asyncio
import hmac
import threading
import time
from base64 import b64decode
from binascii import Error as Base64Error
from collections import defaultdict
from typing import Any

import uvicorn
from python_multipart.exceptions import FormParserError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import Message

from app.cameras.asking import Asking, Counts, digest_of
from app.cameras.settings import CamerasFileError, Pushed, Server
from app.core.listening import is_loopback, listen, require_pair
from app.core.printing import shown
from app.register.errors import ImageRefusedError, ImageTooLargeError, RegisterError
from app.register.photos import MAX_BYTES, VehiclePhoto, take_in
from app.register.records import SeenBy
from app.register.texts import line

MOST_PHOTOS = 8
_MOST_BYTES = 64 * 2**20  # of a request
_SILENT_SECONDS = 15.0  # without a byte of a request, as when a camera lost its power, after which it is given up
_PLATES = ("plate", "plate_text", "plateText", "licensePlate", "license_plate", "plateNumber")
"""Names of a form's field with the plate that a camera read."""
_AGAIN = {"Retry-After": "5"}


class PushCameras:
    """Cameras that send photographs to `/cameras/NAME`."""

    def __init__(self, cameras: list[Pushed], asking: Asking) -> None:
        self.cameras = {camera.name: camera for camera in cameras}
        self.counts = {name: Counts() for name in self.cameras}
        self._asking = asking
        self._turns: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self.app = Starlette(
            routes=[Route("/cameras/{name}", self._take, methods=["POST", "PUT"])],
            exception_handlers={HTTPException: _refused},
        )

    async def _take(self, request: Request) -> JSONResponse:
        camera = self.cameras.get(request.path_params["name"])
        given = _token(request)
        # One comparison for a camera that is not there too: the time does not say which there are.
        right = hmac.compare_digest(given.encode(), (camera.token if camera else "no such camera").encode())
        if camera is None or not right:
            raise HTTPException(401, "wrong camera or token", {"WWW-Authenticate": "Bearer"})
        photos, plate = await _content(_awaited(request))
        return JSONResponse(await run_in_threadpool(self._identify, camera, photos, plate))

    def _identify(self, camera: Pushed, photos: list[tuple[str, bytes]], plate: str) -> dict[str, Any]:
        counts = self.counts[camera.name]
        digest = digest_of(b"".join(digest_of(content).encode() for _, content in photos))
        came = time.monotonic()
        with self._turns[camera.name]:
            try:
                is_taken, sighting = self._asking.taken(camera.name, digest)
                if is_taken:
                    counts.again += 1
                    return {"sighting": sighting, "decision": None, "again": True}
                self._asking.forget_old(camera.name)
                seen_by = SeenBy(camera.name, camera.place, line("plate", plate), came)
                taken = [VehiclePhoto(take_in(content, name), modality=None) for name, content in photos]
                answer = self._asking.ask(taken, seen_by, digest)
            except (RegisterError, ImageRefusedError) as error:
                raise self._refusal(error, counts) from error
            except OSError as error:
                counts.lost += 1
                raise HTTPException(503, "a file of the register cannot be used; send it again", _AGAIN) from error
        counts.photographs += len(photos)
        counts.queries += 1
        return {"sighting": answer.sighting, "decision": answer.decision.outcome.value, "again": False}

    def _refusal(self, error: RegisterError | ImageRefusedError, counts: Counts) -> HTTPException:
        if isinstance(error, ImageRefusedError):
            counts.refused += 1
            return HTTPException(413 if isinstance(error, ImageTooLargeError) else 415, shown(error))
        if error.retry_after is not None:
            counts.lost += 1  # unless the camera sends it again
            return HTTPException(503, error.told, {"Retry-After": str(error.retry_after)})
        counts.refused += 1
        return HTTPException(422, shown(error))


async def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return JSONResponse({"detail": error.detail}, error.status_code, error.headers)


def _token(request: Request) -> str:
    """The token of a request: as a bearer's, as the password of a log-in, or in the address, as cameras can do it."""
    kind, _, given = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return given.strip()
    if kind.lower() == "basic":
        try:
            return b64decode(given.strip(), validate=True).decode("utf-8", "replace").partition(":")[2]
        except Base64Error:
            return ""
    return request.query_params.get("token", "")


def _awaited(request: Request) -> Request:
    """The same request, of which no byte is awaited for ever. Reading it raises HTTPException."""

    async def receive() -> Message:
        try:
            async with asyncio.timeout(_SILENT_SECONDS):
                return await request.receive()
        except TimeoutError as error:
            raise HTTPException(408, "the request did not come whole", {"Connection": "close"}) from error

    return Request(request.scope, receive)


async def _content(request: Request) -> tuple[list[tuple[str, bytes]], str]:
    """The images of a request with their names, and the plate. Raises HTTPException."""
    length = request.headers.get("content-length", "")
    if not length.isascii() or not length.isdecimal():
        raise HTTPException(411, "a request needs a Content-Length")
    if int(length) > _MOST_BYTES:
        raise HTTPException(413, f"more than {_MOST_BYTES // 2**20} MiB")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if kind.startswith("image/") or kind == "application/octet-stream":
            return [("photo", await request.body())], request.query_params.get("plate", "")
        if kind != "multipart/form-data":
            raise HTTPException(415, "send an image, or a form (multipart/form-data) with images")
        async with request.form(max_files=MOST_PHOTOS, max_fields=64) as form:
            return await _of_form(form)
    except ClientDisconnect as error:
        raise HTTPException(400, "the request did not come whole") from error
    except FormParserError as error:
        raise HTTPException(400, f"the form cannot be read: {error}") from error


async def _of_form(form: FormData) -> tuple[list[tuple[str, bytes]], str]:
    photos, plate = list[tuple[str, bytes]](), ""
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            photos.append((value.filename or "photo", await value.read(MAX_BYTES + 1)))
        elif name in _PLATES:
            plate = plate or value
    if not photos:
        raise HTTPException(422, "the form has no image")
    return photos, plate


class PushServer:
    """The server that takes them, from now until `stop`.

    Raises CamerasFileError for an address that it cannot have, or that is not loopback without a certificate."""

    def __init__(self, cameras: PushCameras, server: Server) -> None:
        _require_safe(server)
        self._socket = listen(server.host, server.port, CamerasFileError)
        self.host, self.port = self._socket.getsockname()[:2]
        config = uvicorn.Config(
            cameras.app,
            ssl_certfile=server.certificate or None,
            ssl_keyfile=server.key or None,
            ws="none",
            access_log=False,  # addresses may hold tokens
            log_config=None,
            log_level="warning",
            timeout_keep_alive=5,
            limit_concurrency=64,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="push", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """End it; requests that are under way are answered."""
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()


def _require_safe(server: Server) -> None:
    if bool(server.certificate) != bool(server.key):
        raise CamerasFileError("server: certificate and key belong together")
    if server.certificate:
        files = f"server: certificate {server.certificate} and key {server.key}"
        require_pair(server.certificate, server.key, files, CamerasFileError)
    elif not is_loopback(server.host):
        raise CamerasFileError(
            f"server: host {server.host} needs certificate and key: tokens would be readable; or let a TLS proxy of "
            "yours send to 127.0.0.1"
        )
