"""Plates of Europe: a row of dark characters on white, mostly with a blue band and a country's letters."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from app.synthetic.plates.design import SEAL, Colour, Design, Legend, Line, Patch, box
from app.synthetic.plates.grammar import CLEAR_LETTERS, one_of, shade, spelled

_WHITE, _BLACK, _BLUE = (236, 238, 238), (22, 22, 24), (20, 60, 165)
_YELLOW = (245, 195, 30)

_CROATIAN = ("ZG", "ZG", "ZG", "ST", "RI", "OS", "PU", "ZD", "SB", "VU", "ŠI", "ČK", "VŽ", "KŽ", "ŽU", "KR", "DU", "BJ",
             "SK", "NG", "DJ", "PŽ", "GS", "KA", "KC", "VK", "SL", "DA", "IM", "MA", "NA", "VT", "DE")  # fmt: skip
_SLOVAK = ("BA", "BL", "RK", "LM", "ZA", "NO", "PD", "PP", "KM", "SI", "KE", "PO", "NR", "TT", "TN", "BB", "MT", "DK",
           "MI", "LV", "GA", "SC", "PK", "ML", "VT", "SN", "TO", "IL", "CA", "DT", "ZV", "RS", "LC", "BS")  # fmt: skip


def croatian(rng: np.random.Generator) -> str:
    """ZG @ 1234-AB."""
    return one_of(rng, _CROATIAN) + SEAL + spelled(rng, one_of(rng, ("###-??", "####-?", "####-??", "###-?")))


def czech(rng: np.random.Generator) -> str:
    """1AB 2345: a digit, a region's letter, a letter or digit, four digits; the older AAA 12-34."""
    if rng.random() < 0.06:
        return spelled(rng, f"???{SEAL}##-##")
    region = one_of(rng, "ABCEHJKLMPSTUZ")
    third = one_of(rng, "ABCDEFHIJKLMNPRSTVXYZ") if rng.random() < 0.3 else spelled(rng, "#")
    return spelled(rng, "#") + region + third + one_of(rng, (SEAL, "  ")) + spelled(rng, "####")


def slovak(rng: np.random.Generator) -> str:
    """BA-123CD, with a shield or a hyphen."""
    return one_of(rng, _SLOVAK) + one_of(rng, (SEAL, "-", SEAL + "-"), (5, 4, 2)) + spelled(rng, "###??")


def german(rng: np.random.Generator) -> str:
    """B-AB 1234: town, seals, one or two letters, up to four digits, eight characters at most."""
    town = spelled(rng, one_of(rng, ("?", "??", "???"), (2, 4, 3)))
    if rng.random() < 0.03:
        town = one_of(rng, ("MÜ", "FÜ", "TÖL", "LÖ", "SÄK"))
    letters = spelled(rng, one_of(rng, ("?", "??"), (3, 7)))
    most = min(4, 8 - len(town) - len(letters))
    digits = str(rng.integers(1, 10)) + spelled(rng, "#" * int(rng.integers(max(0, most - 2), most)))
    return f"{town}{SEAL}{letters} {digits}"


def french(rng: np.random.Generator) -> str:
    """AA-123-AA; the older 123 ABC 45."""
    return spelled(rng, one_of(rng, ("??-###-??", "### ??? ##"), (9, 1)), CLEAR_LETTERS)


def italian(rng: np.random.Generator) -> str:
    """AA 123AA."""
    return spelled(rng, "?? ###??", "ABCDEFGHJKLMNPRSTVWXYZ")


def polish(rng: np.random.Generator) -> str:
    """WA 12345 or KRA 1A34."""
    return spelled(rng, one_of(rng, ("?? #####", "??? *###", "??? ##?#", "?? ####?", "??? ####?")), CLEAR_LETTERS)


def british(rng: np.random.Generator) -> str:
    """AB12 CDE."""
    return spelled(rng, "??## ???", CLEAR_LETTERS)


def austrian(rng: np.random.Generator) -> str:
    """W @ 12345A."""
    return spelled(rng, one_of(rng, ("??", "?"))) + SEAL + spelled(rng, one_of(rng, ("###??", "####?", "#####?")))


def dutch(rng: np.random.Generator) -> str:
    """12-ABC-3 and its sisters, without vowels."""
    return spelled(rng, one_of(rng, ("##-???-#", "#-???-##", "??-##-??", "##-??-??", "?-###-??")), "BDFGHJKLNPRSTVXZ")


def spanish(rng: np.random.Generator) -> str:
    """1234 BCD, without vowels."""
    return spelled(rng, "#### ???", "BCDFGHJKLMNPRSTVWXYZ")


def norwegian(rng: np.random.Generator) -> str:
    """AB 12345."""
    return spelled(rng, "?? #####", CLEAR_LETTERS)


def hungarian(rng: np.random.Generator) -> str:
    """ABC-123."""
    return spelled(rng, "???-###")


def swedish(rng: np.random.Generator) -> str:
    """ABC 123 or ABC 12D."""
    return spelled(rng, one_of(rng, ("??? ###", "??? ##?")), CLEAR_LETTERS)


Country = tuple[str, Callable[[np.random.Generator], str], str, float, tuple[str, ...]]
_COUNTRIES: tuple[Country, ...] = (  # letters of the band, text, seal, how often, faces
    ("HR", croatian, "crest", 16, ("din", "din", "highway", "roboto")),
    ("CZ", czech, "discs", 18, ("square", "angular", "din_bold", "roboto", "grotesque")),
    ("SK", slovak, "shield", 16, ("din", "din", "roboto", "highway")),
    ("D", german, "discs", 9, ("din_bold", "square", "grotesque", "angular")),
    ("F", french, "", 6, ("din_bold", "grotesque", "roboto", "dejavu")),
    ("I", italian, "", 6, ("din_bold", "roboto", "highway")),
    ("PL", polish, "", 6, ("square", "din_bold", "tall", "roboto")),
    ("GB", british, "", 6, ("highway", "grotesque", "dejavu")),
    ("A", austrian, "shield", 4, ("din", "grotesque", "roboto")),
    ("NL", dutch, "", 4, ("din_bold", "grotesque", "roboto")),
    ("E", spanish, "", 4, ("din", "grotesque", "roboto")),
    ("N", norwegian, "", 2, ("din_bold", "angular", "highway")),
    ("H", hungarian, "", 3, ("din", "din_bold", "square")),
    ("S", swedish, "", 2, ("tall", "din_bold", "grotesque")),
)


def europe(rng: np.random.Generator) -> Design:
    """A plate of one of fourteen countries, of one line or, for Croatia and rarely for others, of two."""
    code, write, seal, _, faces = one_of(rng, _COUNTRIES, [country[3] for country in _COUNTRIES])
    text = write(rng)
    ground, ink = (shade(rng, _YELLOW, 8) if _is_yellow(rng, code) else shade(rng, _WHITE, 6)), _ink(rng, code)
    band = rng.random() < {"HR": 0.25, "GB": 0.5, "CZ": 0.75}.get(code, 0.85)
    face, weight = one_of(rng, faces), one_of(rng, (-2, 0, 0, 2))
    line = Line(text, (0, 0, 1, 1), face, ink, gap=rng.uniform(0.1, 0.18), weight=weight)
    if code in ("HR", "CZ", "D", "I", "A") and rng.random() < 0.1:
        return _two_lines(line, ground, seal)
    under: list[Patch] = []
    legends: list[Legend] = []
    left = 0.035
    if band:
        blue = shade(rng, _BLUE, 14)
        under += [box(0, 0, 0.085, 1, blue), box(0.025, 0.16, 0.06, 0.42, shade(rng, (140, 150, 110), 10))]
        legends.append(Legend(code, (0.02, 0.6, 0.065, 0.82), "din_bold", _WHITE))
        left = 0.1
    if code in ("F", "I") and rng.random() < 0.7:
        under.append(box(0.92, 0, 1, 1, shade(rng, _BLUE, 14)))
    right = 0.9 if len(under) > 2 or (code in ("F", "I") and not band) else 0.965
    inset = rng.uniform(0, 0.03)
    line = replace(line, place=(left + inset, rng.uniform(0.13, 0.18), right - inset, rng.uniform(0.82, 0.87)))
    return Design(
        (520, 112), (ground,), (line,), tuple(legends), tuple(under),
        border=one_of(rng, (_BLACK, ink, None)), border_inset=0.04, corner=0.1, seal=seal,
        screws=((0.12, 0.5), (0.95, 0.5)) if rng.random() < 0.12 and not band else (),
    )  # fmt: skip


def _is_yellow(rng: np.random.Generator, code: str) -> bool:
    return code == "NL" or (code == "GB" and rng.random() < 0.5)


def _ink(rng: np.random.Generator, code: str) -> Colour:
    coloured = (30, 110, 60) if code in ("HR", "A", "D") else (170, 30, 40)
    return coloured if rng.random() < 0.03 else shade(rng, _BLACK, 8)


def _two_lines(line: Line, ground: Colour, seal: str) -> Design:
    cut = max(line.text.find(SEAL), line.text.find(" "))
    head, tail = line.text[:cut], line.text[cut:].strip(SEAL + " ")
    upper = replace(line, text=head + SEAL if seal else head, place=(0.22, 0.1, 0.85, 0.45))
    lower = replace(line, text=tail, place=(0.05, 0.54, 0.95, 0.9))
    return Design((280, 200), (ground,), (upper, lower), border=_BLACK, border_inset=0.025, corner=0.06, seal=seal)
