"""Search in the API: vehicles by plate, owner, flat or number."""

from typing import Annotated

from fastapi import APIRouter, HTTPException, Query
from pydantic import BaseModel, Field

from app.register.accounts import Role
from app.register.search import LEAST_OF_GUARDS, Hit, Hits
from app.web.api import Service
from app.web.bodies import Line
from app.web.refusals import REFUSED
from app.web.security import Guard

router = APIRouter(prefix="/api", responses=REFUSED)
_MOST_PAGES = 2**31 - 1


class HitAnswer(BaseModel):
    """A vehicle that a search found."""

    vehicle: int
    found_by: str = Field(
        description="number, plate (the whole one), flat, plate_begins, plate_part, plate_alike (but for look-alike "
        "characters), plate_similar (but for one error), tag or owner."
    )
    plate: str | None
    flat: str | None = Field(description="For guards null, unless the whole plate was given.")
    owner: str | None = Field(description="Name, where it was found by that; the trail says who saw it.")
    picture: str | None = Field(description="Its first enrolled image; for guards as `flat`.")
    may_open: bool = Field(description="Whether you may look at the vehicle.")

    @classmethod
    def of(cls, hit: Hit, *, may_open: bool) -> "HitAnswer":
        return cls(
            vehicle=hit.vehicle,
            found_by=hit.by.name,
            plate=hit.plate,
            flat=hit.flat,
            owner=hit.owner,
            picture=hit.image,
            may_open=may_open,
        )


class SearchAnswer(BaseModel):
    """One page of the vehicles that a search found."""

    page: int
    pages: int = Field(description="For guards always 1: type more of the plate.")
    total: int = Field(description="Vehicles on all pages; for guards on this one.")
    more: bool = Field(description="Whether more was found than the pages show, as guards see it.")
    hits: list[HitAnswer] = Field(description="The best first.")


@router.get("/search")
async def search(
    user: Guard,
    service: Service,
    q: Annotated[Line, Query(description="Plate or a part of it (`*` any characters, `?` one), owner, flat, number.")],
    page: Annotated[int, Query(ge=1, le=_MOST_PAGES)] = 1,
) -> SearchAnswer:
    """Find vehicles by what is known of them. A guard finds plates alone, by three letters or digits or more, and sees
    one page; a vehicle whose whole plate was given may then be looked at for twelve hours."""
    find = service.identification.search
    if user.role >= Role.manager:
        found = await service.aside(find.for_manager, q, page, user.name)
        hits = [HitAnswer.of(hit, may_open=True) for hit in found.hits]
        return SearchAnswer(page=page, pages=found.pages, total=found.total, more=False, hits=hits)
    if page > 1:
        raise HTTPException(403, f"a guard sees one page: type more of the plate than {LEAST_OF_GUARDS} characters")
    found = await service.aside(find.for_guard, q, user.name)
    visible = await service.aside(service.identification.visible.vehicles, user.name, _numbers(found))
    hits = [HitAnswer.of(hit, may_open=hit.vehicle in visible) for hit in found.hits]
    return SearchAnswer(page=1, pages=1, total=len(hits), more=found.total > len(hits), hits=hits)


def _numbers(found: Hits) -> set[int]:
    return {hit.vehicle for hit in found.hits}
