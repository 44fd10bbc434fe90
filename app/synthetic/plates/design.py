"""Design of a plate before it is photographed; all places are shares of the plate's width and height."""

from dataclasses import dataclass

from models.alphabet import plain

Colour = tuple[int, int, int]  # red, green, blue
Point = tuple[float, float]
Place = tuple[float, float, float, float]  # left, top, right, bottom

SEAL = "@"  # room for a crest or a sticker between characters


@dataclass(frozen=True)
class Line:
    """A row of the plate's characters.

    In `text` a blank is a gap; - and · and . are rendered; `SEAL` is room for a crest. In an `even` line all characters
    have cells of the same width, otherwise they follow each other with `gap`, a share of their height."""

    text: str
    place: Place
    face: str
    ink: Colour
    even: bool = False
    fill: float = 0.82  # share of a cell that a 0 takes
    gap: float = 0.14
    weight: int = 0
    footed: bool = False
    special_ink: Colour | None = None  # of characters that are neither letters nor digits nor provinces


@dataclass(frozen=True)
class Legend:
    """Small print outside of the text: a state, a slogan, a month."""

    text: str
    place: Place
    face: str
    ink: Colour


@dataclass(frozen=True)
class Patch:
    """A filled polygon."""

    points: tuple[Point, ...]
    colour: Colour


@dataclass(frozen=True)
class Design:
    """A plate: size in millimetres, ground from top to bottom, what lies under and over the characters."""

    size: tuple[float, float]
    ground: tuple[Colour, ...]
    lines: tuple[Line, ...]
    legends: tuple[Legend, ...] = ()
    under: tuple[Patch, ...] = ()
    over: tuple[Patch, ...] = ()
    border: Colour | None = None
    border_inset: float = 0.03  # of the height
    corner: float = 0.08  # radius, of the height
    seal: str = ""  # "shield", "crest", "discs", "disc", "star", "blot" or nothing
    seal_ink: Colour | None = None  # of the last three; the characters' own without
    screws: tuple[Point, ...] = ()
    embossed: bool = True

    @property
    def text(self) -> str:
        """The text for a reader, in plain form."""
        return plain("".join(line.text for line in self.lines))


def box(left: float, top: float, right: float, bottom: float, colour: Colour) -> Patch:
    """A rectangle."""
    return Patch(((left, top), (right, top), (right, bottom), (left, bottom)), colour)
