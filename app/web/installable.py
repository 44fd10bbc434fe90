"""The pages as an app of a phone: its manifest, its service worker, and the frame that is shown without a line."""

from functools import cache
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from app.web.language import language_of
from app.web.rendering import page
from app.web.static_files import static

router = APIRouter(include_in_schema=False)


@router.get("/manifest.webmanifest")
async def manifest(request: Request) -> Response:
    """What a browser needs to install the pages. It holds nothing of the register."""
    icons = [_icon("icon-192.png", 192), _icon("icon-512.png", 512), _icon("icon-maskable-512.png", 512, "maskable")]
    described = {
        "name": language_of(request).translations.gettext("Register"),
        "short_name": language_of(request).translations.gettext("Register"),
        "lang": language_of(request).tag,
        "id": "/",
        "start_url": "/",
        "scope": "/",
        "display": "standalone",
        "background_color": "#ffffff",
        "theme_color": "#0b5cad",
        "icons": icons,
    }
    return JSONResponse(described, media_type="application/manifest+json")


@router.get("/service-worker.js")
async def service_worker() -> Response:
    """The service worker, at the root since it is for all pages."""
    return Response(_worker(), media_type="text/javascript; charset=utf-8")


@router.get("/shell")
async def shell(request: Request) -> Response:
    """The frame of the first page without anybody's data; no log-in is needed, as nothing is in it."""
    return page(request, "identify.html", None, shell=True)


def _icon(name: str, side: int, purpose: str = "any") -> dict[str, Any]:
    return {"src": static(name), "sizes": f"{side}x{side}", "type": "image/png", "purpose": purpose}


@cache
def _worker() -> bytes:
    return (Path(__file__).parent / "worker.js").read_bytes()
