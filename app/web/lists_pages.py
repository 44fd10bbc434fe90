"""The page of the lists: visitors, allowed and denied plates."""

from dataclasses import replace
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response

from app.register.lists import PAGE
from app.web.api import Service
from app.web.lists import ListEntryAnswer, OfLists
from app.web.rendering import page
from app.web.security import Guard
from app.web.sightings import Before

router = APIRouter(include_in_schema=False)


@router.get("/lists")
async def lists_page(
    request: Request, user: Guard, service: Service, filters: OfLists, before: Before = None
) -> Response:
    asked = filters.chosen
    chosen = asked if asked.current is not None else replace(asked, current=True)
    rows = await service.aside(service.identification.lists.entries, chosen, before, PAGE + 1)
    given = {"kind": chosen.kind and chosen.kind.value, "q": chosen.text, "vehicle": chosen.vehicle}
    query = urlencode({name: value for name, value in given.items() if value} | {"ended": not chosen.current})
    return page(
        request,
        "lists.html",
        user,
        entries=[ListEntryAnswer.of(row, service.zone) for row in rows[:PAGE]],
        chosen=chosen,
        query=query.replace("False", "false").replace("True", "true"),
        older=rows[PAGE - 1].id if len(rows) > PAGE else None,
    )
