"""Static files of the pages: under addresses with their digest, which a browser keeps, compressed once at the start."""

import gzip
import hashlib
from functools import cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

FOLDER = Path(__file__).parent / "static"
IMMUTABLE = "public, max-age=31536000, immutable"
_DIGITS = 16
_LEAST_BYTES = 500  # a smaller file fits one packet as it is
_TEXTS = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
_OTHERS = {".png": "image/png", ".ico": "image/x-icon", ".woff2": "font/woff2"}
router = APIRouter(include_in_schema=False)


class StaticFile(NamedTuple):
    """A file as it is sent.

    Args:
        digest: the first digits of its SHA-256.
        compressed: by gzip; None where that saves nothing.
    """

    content: bytes
    digest: str
    media_type: str
    compressed: bytes | None


@cache
def static_files() -> dict[str, StaticFile]:
    """All static files by their names below the folder, read once."""
    paths = [path for path in sorted(FOLDER.rglob("*")) if path.is_file()]
    return {path.relative_to(FOLDER).as_posix(): _read(path) for path in paths}


def static(name: str) -> str:
    """The address of a static file, for templates. Raises KeyError for one that is not there."""
    return f"/static/{static_files()[name].digest}/{name}"


@router.get("/static/{place:path}")
async def static_file(request: Request, place: str) -> Response:
    """A static file. With the digest of its content in its address it is kept by the browser, without it is not."""
    digest, _, name = place.partition("/")
    found = static_files().get(name)
    headers = {"Cache-Control": IMMUTABLE}
    if found is None or found.digest != digest:
        found = static_files().get(place)
        headers = {}
    if found is None:
        raise HTTPException(404)
    content = found.content
    if found.compressed is not None:
        headers["Vary"] = "Accept-Encoding"
        if "gzip" in request.headers.get("accept-encoding", ""):
            content, headers["Content-Encoding"] = found.compressed, "gzip"
    return Response(content, media_type=found.media_type, headers=headers)


def _read(path: Path) -> StaticFile:
    content, suffix = path.read_bytes(), PurePosixPath(path.name).suffix
    small = gzip.compress(content, mtime=0) if suffix in _TEXTS and len(content) >= _LEAST_BYTES else None
    kind = _TEXTS.get(suffix) or _OTHERS.get(suffix, "application/octet-stream")
    return StaticFile(content, hashlib.sha256(content).hexdigest()[:_DIGITS], kind, small)
