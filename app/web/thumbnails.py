"""Thumbnails in the API."""

from fastapi import APIRouter, Response

from app.images.decode import UnreadableImageError
from app.register.errors import NotEnrolledError, UnavailableError
from app.register.identification import Identification
from app.register.thumbnails import thumbnail
from app.web.api import ImageName, Service
from app.web.refusals import REFUSED
from app.web.security import Guard, User, image_path

router = APIRouter(prefix="/api", responses=REFUSED)


@router.get("/thumbnails/{name}", response_class=Response)
async def small_picture(user: Guard, service: Service, name: ImageName) -> Response:
    """An image of the register in at most 5 kB. It is seen by those who may see the image."""
    content = await service.aside(_content, service.identification, name, user)
    return Response(content, media_type="image/jpeg")


def _content(identification: Identification, name: str, user: User) -> bytes:
    path = image_path(identification, name, user)
    try:
        return thumbnail(path)
    except FileNotFoundError as error:  # forgotten a moment ago
        raise NotEnrolledError("there is no such image") from error
    except UnreadableImageError as error:
        raise UnavailableError(f"the image {name} is damaged") from error
