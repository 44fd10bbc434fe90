"""Orientation in an XMP packet (ISO 16684-1)."""

import re

_XMP = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')


def xmp_orientation(packet: bytes) -> int | None:
    """The value of tiff:Orientation; None if there is none."""
    match = _XMP.search(packet)
    return int(match[1]) if match else None
