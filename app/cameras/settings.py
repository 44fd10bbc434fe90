"""File that names the cameras of a site: `cameras.toml` in the register's folder. TOML, read strictly."""

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints, field_validator, model_validator

from app.register.errors import RegisterError
from app.register.receivers import Name
from app.register.texts import line_fault
from app.settings.toml_file import TomlSection, read_toml, require_private

_SCHEMES = ("rtsp", "rtsps", "http", "https")


class CamerasFileError(RegisterError, ValueError):
    """The file of cameras cannot be used; the message names it, and the key."""


class Camera(TomlSection):
    """Common settings of cameras.

    Args:
        name: in sightings, events and the log.
        place: where it stands.
    """

    name: Name
    place: str = ""

    @field_validator("place")
    @classmethod
    def _line(cls, place: str) -> str:
        if fault := line_fault(place):
            raise ValueError(fault)
        return place.strip()


class WatchedFolder(Camera):
    """A folder into which a camera, or its FTP server, drops photographs.

    Args:
        path: absolute; folders in it belong to it.
        after: of a photograph that was identified.
    """

    path: str
    after: Literal["keep", "delete"] = "keep"

    @field_validator("path")
    @classmethod
    def _absolute(cls, path: str) -> str:
        if not Path(path).is_absolute():
            raise ValueError(f"{path!r} is no absolute path")
        return path


class Stream(Camera):
    """A video that is watched for moving vehicles.

    Args:
        url: RTSP, MJPEG or another video by HTTP, or the absolute path of a video file, which is watched once.
        most_fps: frames looked at in a second.
    """

    url: str
    most_fps: Annotated[float, Field(gt=0, le=60)] = 10.0

    @field_validator("url")
    @classmethod
    def _video(cls, url: str) -> str:
        if not cls._is_file(url) and not (urlsplit(url).scheme in _SCHEMES and urlsplit(url).hostname):
            raise ValueError("is no URL such as rtsp://host/path or http://host/path, and no absolute path of a file")
        return url

    @staticmethod
    def _is_file(url: str) -> bool:
        return Path(url).is_absolute()

    @property
    def is_file(self) -> bool:
        """Whether it is a file, which has an end and of which no frame is dropped."""
        return self._is_file(self.url)


class Pushed(Camera):
    """A camera that sends its photographs by HTTP.

    Args:
        token: that it has to bring.
    """

    token: Annotated[str, StringConstraints(min_length=16, max_length=200)]


class Server(TomlSection):
    """Where pushed photographs are taken.

    Args:
        certificate, key: PEM files, for TLS; needed on another address than loopback.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8001
    certificate: str = ""
    key: str = ""


class Cameras(TomlSection):
    """All of the file."""

    format: Literal[1] = 1
    folder: Annotated[list[WatchedFolder], Field(default_factory=list)]
    stream: Annotated[list[Stream], Field(default_factory=list)]
    push: Annotated[list[Pushed], Field(default_factory=list)]
    server: Annotated[Server, Field(default_factory=lambda: Server.model_validate({}))]

    @model_validator(mode="after")
    def _once(self) -> "Cameras":
        names = self.names
        if not names:
            raise ValueError("names no camera: [[folder]], [[stream]] or [[push]]")
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two cameras have the name {twice!r}")
        return self

    @property
    def names(self) -> list[str]:
        """Names of all cameras."""
        return [each.name for each in (*self.folder, *self.stream, *self.push)]


def read_cameras(path: Path) -> Cameras:
    """The cameras of a file. Raises CamerasFileError, also for a file that other users of the machine may read."""
    cameras = read_toml(path, Cameras, CamerasFileError)
    require_private(path, CamerasFileError)
    return cameras
