"""Known fields and parameters of an operation: any other is refused by name, not ignored."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from types import UnionType
from typing import Any, Union, get_args, get_origin

from fastapi import HTTPException, Request
from fastapi.dependencies.utils import get_flat_dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel

from app.core.printing import shown
from app.settings.nearest import nearest

CSRF_FIELD = "csrf"
_LONGEST = 80


async def known_only(request: Request) -> None:
    """A dependency of all operations. Raises HTTPException 422 for a query parameter or a form field that the operation
    does not know, for a second value where it takes one, in JSON as well, and for a body where it takes none."""
    route = request.scope.get("route")
    if not isinstance(route, APIRoute):
        return
    flat = get_flat_dependant(route.dependant)
    query = {field.alias: _takes_many(field.field_info.annotation) for field in flat.query_params}
    _require("query parameter", request.query_params.multi_items(), query)
    if request.method in ("GET", "HEAD"):
        return
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    model = _model(route)
    if model is None and kind in ("multipart/form-data", "application/x-www-form-urlencoded"):
        body = {field.alias: _takes_many(field.field_info.annotation) for field in flat.body_params}
        _require("field", (await request.form()).multi_items(), {CSRF_FIELD: False, **body})
    elif model is not None:
        _refuse_repeated(await request.body())
    elif not flat.body_params and (await request.body()).strip() not in (b"", b"{}", b"null"):
        raise HTTPException(422, "this operation takes no body")


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """One line about an unknown name, with the one that was probably meant."""
    names = sorted(known)
    line = f"unknown {what} '{shown(name[:_LONGEST])}'"
    if near := nearest(name, names):
        return f"{line}: did you mean '{near}'?"
    return f"{line}; known: {', '.join(names)}" if names else f"{line}; none is known here"


def unknown_in_body(request: Request, errors: Sequence[Any]) -> str | None:
    """`unknown` for a field of a JSON body, if the errors of its model have one."""
    route = request.scope.get("route")
    extra = next((error for error in errors if error["type"] == "extra_forbidden"), None)
    if extra is None or not isinstance(route, APIRoute) or (model := _model(route)) is None:
        return None
    return unknown("field", str(extra["loc"][-1]), model.model_fields)


def _refuse_repeated(body: bytes) -> None:
    """Raise HTTPException 422 for a JSON body in which an object has a key twice: readers differ in which they take."""

    def fields(pairs: list[tuple[str, object]]) -> None:
        repeated = next((name for name, count in Counter(name for name, _ in pairs).items() if count > 1), None)
        if repeated is not None:
            raise HTTPException(422, f"field '{shown(repeated[:_LONGEST])}' is given twice")

    with suppress(ValueError, RecursionError):  # the model refuses what is no JSON
        json.loads(body, object_pairs_hook=fields)


def _require(what: str, given: Sequence[tuple[str, object]], known: dict[str, bool]) -> None:
    seen = set()
    for name, _ in given:
        if name not in known:
            shown = [each for each in known if each != CSRF_FIELD]
            raise HTTPException(422, unknown(what, name, shown))
        if name in seen and not known[name]:
            raise HTTPException(422, f"{what} '{name}' is given twice")
        seen.add(name)


def _model(route: APIRoute) -> type[BaseModel] | None:
    """The model of a JSON body; None for a form, or no body."""
    for field in get_flat_dependant(route.dependant).body_params:
        annotation = field.field_info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            return annotation
    return None


def _takes_many(annotation: Any) -> bool:
    if get_origin(annotation) in (Union, UnionType):
        return any(map(_takes_many, get_args(annotation)))
    return get_origin(annotation) in (list, tuple, set) or annotation in (list, tuple, set)
