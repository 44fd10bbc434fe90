"""Orientation in XMP packets of every legal spelling, and nothing of packets that ask for more than to be read."""

import io
import time

import numpy as np
import pytest
from encoded_images import decoded, encoded, exif
from PIL import Image, ImageOps, PngImagePlugin

from app.images.metadata import split
from app.images.xmp import xmp_orientation

TIFF = "http://ns.adobe.com/tiff/1.0/"
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"


def packet(inner):
    return f"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf='{RDF}'>{inner}</rdf:RDF></x:xmpmeta>"


SPELLINGS = {
    "double quotes": f'<rdf:Description xmlns:tiff="{TIFF}" tiff:Orientation="@"/>',
    "single quotes": f"<rdf:Description xmlns:tiff='{TIFF}' tiff:Orientation='@'/>",
    "blanks": f'<rdf:Description\n xmlns:tiff = "{TIFF}"\n tiff:Orientation\n = " @ " />',
    "another prefix": f'<rdf:Description xmlns:ns1="{TIFF}" ns1:Orientation="@"/>',
    "element": f'<rdf:Description xmlns:tiff="{TIFF}"><tiff:Orientation>@</tiff:Orientation></rdf:Description>',
    "element with blanks": f'<rdf:li xmlns:t="{TIFF}"><t:Orientation\n>\n @\t</t:Orientation ></rdf:li>',
    "element without a prefix": f'<rdf:Description><Orientation xmlns="{TIFF}">@</Orientation></rdf:Description>',
    "character reference": f'<rdf:Description xmlns:tiff="{TIFF}" tiff:Orientation="&#4@;"/>',
    "section of characters": f"<t:Orientation xmlns:t='{TIFF}'><![CDATA[@]]></t:Orientation>",
    "a comment before": f'<!-- tiff:Orientation="1" --><rdf:Description xmlns:tiff="{TIFF}" tiff:Orientation="@"/>',
    "another namespace before": f'<rdf:li xmlns:tiff="urn:x" tiff:Orientation="1"/>'
    f'<rdf:li xmlns:tiff="{TIFF}" tiff:Orientation="@"/>',
}


def spelt(name, value):
    text = SPELLINGS[name]
    return packet(text.replace("&#4@;", f"&#{48 + value};").replace("@", str(value)))


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("name", SPELLINGS)
def test_every_spelling_of_every_value(name, value):
    assert xmp_orientation(spelt(name, value).encode()) == value


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize(
    "before", ["", "<?xml version='1.0' encoding='UTF-16'?>", "<?xpacket begin='\ufeff' id='W5'?>\n"]
)
def test_every_encoding_of_a_packet(encoding, before):
    text = f"{before}{spelt('another prefix', 6)}\n{' ' * 100}<?xpacket end='w'?>"
    assert xmp_orientation(text.encode(encoding)) == 6


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_images_are_turned_as_pillow_turns_them_by_exif(kind, value):
    with Image.open(io.BytesIO(encoded(kind, exif=exif(orientation=value)))) as file:
        expected = np.asarray(ImageOps.exif_transpose(file).convert("RGB"))
    text = spelt("element with blanks", value)
    if kind == "WEBP":
        data = encoded(kind, xmp=text.encode("utf-16"))
    else:
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", text, zip=True)
        data = encoded(kind, pnginfo=info)
    np.testing.assert_array_equal(decoded(data), expected)


@pytest.mark.parametrize(
    "text",
    [
        f"<!DOCTYPE x>{spelt('double quotes', 6)}",
        f"<!DOCTYPE x [<!ENTITY a '6'>]>{packet(SPELLINGS['element'].replace('@', '&a;'))}",
        f"<!DOCTYPE x SYSTEM 'file:///etc/hostname'>{spelt('double quotes', 6)}",
        packet(SPELLINGS["element"].replace("@", "&a;")),
        spelt("double quotes", 6)[:-5],  # cut off
        spelt("double quotes", 6) + "<more/>",
        spelt("another namespace before", 6).replace(TIFF, "http://ns.adobe.com/tiff/1.1/"),
        *(packet(SPELLINGS["element"].replace("@", odd)) for odd in ("", "0", "9", "٦", "6.0", "66", "+6", "six")),
        spelt("double quotes", 6) + " " * 2**20,
        "\0" * 50,
        "",
    ],
)
def test_a_packet_that_cannot_be_read_turns_nothing(text):
    assert xmp_orientation(text.encode()) is None
    assert split(encoded("WEBP", xmp=text.encode() or b" "))[0] == 1


def test_the_usual_prefix_is_known_without_its_namespace():
    assert xmp_orientation(b'<x:xmpmeta><rdf:Description tiff:Orientation="8"/></x:xmpmeta>') == 8
    assert xmp_orientation(b'<x:xmpmeta><rdf:Description exif:Orientation="8"/></x:xmpmeta>') is None


def test_no_packet_takes_long():
    """Processor time of a mebibyte of the parts that a parser keeps or copies."""
    body = {
        "depth": "<a>" * 2**18,
        "text": f"<t:Orientation xmlns:t='{TIFF}'>" + "6 " * 2**18,
        "attributes": "<a " + " ".join(f"a{i}=''" for i in range(80_000)) + "/>",
        "references": f"<t:Orientation xmlns:t='{TIFF}'>" + "&#54;" * 2**17,
    }
    start = time.process_time()
    assert [xmp_orientation(text.encode()) for text in body.values()] == [None] * 4
    assert time.process_time() - start < 3
