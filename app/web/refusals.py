"""Refusals of the API, as its description has them."""

from typing import Any

from app.web.answers import Error

REFUSED: dict[int | str, dict[str, Any]] = {
    code: {"model": Error} for code in (400, 401, 403, 404, 409, 413, 415, 422, 429, 503, 507)
}
