"""Orientation in an XMP packet (ISO 16684-1), read with its namespaces and nothing that a packet could ask for."""

import re
from typing import Any
from xml.parsers import expat

_TIFF = "http://ns.adobe.com/tiff/1.0/"
_NAME = f"{_TIFF} Orientation"
_UNBOUND = expat.errors.codes[expat.errors.XML_ERROR_UNBOUND_PREFIX]
_MOST_BYTES = 2**20  # a packet that cameras write has some kilobytes
_VALUE = re.compile(r"\s*([1-8])\s*", re.ASCII)
_ENCODINGS = (  # how a packet begins that names no other one (XMP part 1, 7.1: UTF-8, UTF-16 or UTF-32)
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"<\0\0\0", "utf-32-le"),
    (b"\0\0\0<", "utf-32-be"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
    (b"<\0", "utf-16-le"),
    (b"\0<", "utf-16-be"),
    (b"\xef\xbb\xbf", "utf-8-sig"),
)
_DECLARATION = re.compile(r"\s*<\?xml\b[^>]*\?>")


class _RefusedError(Exception):
    """A packet with a document type: its entities could make gigabytes of a few bytes."""


def xmp_orientation(packet: bytes) -> int | None:
    """The first value of `Orientation` in the namespace of TIFF, as an attribute or an element, whatever its prefix.

    None if there is none that is 1 to 8, and for a packet that is over 1 MiB, has a document type, or is no XML."""
    if len(packet) > _MOST_BYTES:
        return None
    try:
        text = _text(packet).encode()
        try:
            return _first(text, _NAME, " ")
        except expat.ExpatError as error:
            if error.code != _UNBOUND:
                raise
            return _first(text, "tiff:Orientation", None)  # some programs declare no prefix, and mean the usual one
    except (expat.ExpatError, UnicodeError, _RefusedError):
        return None


def _first(packet: bytes, wanted: str, separator: str | None) -> int | None:
    """The first value of an attribute or an element; `separator` stands between a namespace and a name."""
    found: list[int] = []
    text: list[str] = []
    inside: list[bool] = []

    def take(value: str) -> None:
        if match := _VALUE.fullmatch(value):
            found.append(int(match[1]))

    def start(name: str, attributes: dict[str, str]) -> None:
        inside.append(name == wanted)
        text.clear()
        if wanted in attributes:
            take(attributes[wanted])

    def end(_: str) -> None:
        if inside.pop():
            take("".join(text))

    def characters(data: str) -> None:
        if inside[-1]:
            text.append(data)

    def refuse(*_: Any) -> None:
        raise _RefusedError

    parser = expat.ParserCreate("utf-8", separator)
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, characters
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    parser.Parse(packet, True)
    return found[0] if found else None


def _text(packet: bytes) -> str:
    """The packet as text from its first mark on, without a declaration, whose encoding is no longer its own."""
    packet = packet.strip(b" \t\r\n")
    encoding = next((name for mark, name in _ENCODINGS if packet.startswith(mark)), "utf-8")
    text = packet.rstrip(b"\0").decode("utf-8") if encoding.startswith("utf-8") else packet.decode(encoding)
    return _DECLARATION.sub("", text.removeprefix("\ufeff"), count=1).strip("\0 \t\r\n")
