"""Formats of number plates by country, and the country and region that a text tells.

In a pattern ? is a letter, # a digit, * either, and @ a province of China; any other character is itself.
"""

from collections.abc import Iterable
from typing import NamedTuple

from models.alphabet import PROVINCES

Format = tuple[str, ...]
"""The characters that are allowed at each place."""

_DIGITS = "0123456789"
_ALL = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_CLEAR = "ABCDEFGHJKLMNPQRSTUVWXYZ"  # without I and O
_CHINESE_NUMBERS = (
    "#####", "?####", "#?###", "##?##", "###?#", "####?", "??###", "#??##", "?#?##", "?###?", "?##?#", "*****",
)  # fmt: skip
_CHINA = [f"@?{number}" for number in _CHINESE_NUMBERS]
_CHINA += ["@??#####", "@???####", "@?#####D", "@?#####F"]  # electric vehicles
_CHINA += ["@?****学", "@?****挂", "@?****警", "@?****领", "粤Z****港", "粤Z****澳", "使######"]
_UNITED_STATES = (
    "#???###", "???####", "???###", "###???", "??#?###", "????##", "?#####", "?###??", "??#?#?", "??#####", "#??####",
    "?##???", "#????##", "###??#", "?####?", "##?###?", "###?##", "#??###", "######", "#######", "####??", "??####",
    "#####?", "#???##", "??##??", "##?#?#?", "??###??", "?####", "##???", "???#?", "####?", "?##?##", "##????",
)  # fmt: skip
_VIETNAM = ("##?#####", "##?####", "##?######", "##??#####", "##??####")
_GERMAN = ["?" * letters + "#" * digits for letters in range(2, 6) for digits in range(1, 5) if letters + digits <= 8]
_POLISH = ["??#####", "???#####", "???###?", "???##?#", "???#?##", "???####", "??####?", "???####?", "????###"]
_EUROPE: dict[str, tuple[str, list[str]]] = {  # letters and patterns
    "hr": (_ALL, ["??###??", "??####?", "??####??", "??###?"]),
    "cz": (_ALL, ["#?#####", "#??####", "???####"]),
    "sk": (_ALL, ["??###??"]),
    "de": (_ALL, _GERMAN),
    "fr": (_CLEAR, ["??###??", "###???##"]),
    "it": ("ABCDEFGHJKLMNPRSTVWXYZ", ["??###??"]),
    "pl": (_CLEAR, _POLISH),
    "gb": (_CLEAR, ["??##???"]),
    "at": (_ALL, ["??###??", "??####?", "??#####?", "?###??", "?####?", "?#####?"]),
    "nl": ("BDFGHJKLNPRSTVXZ", ["##???#", "#???##", "??##??", "##????", "?###??"]),
    "es": ("BCDFGHJKLMNPRSTVWXYZ", ["####???"]),
    "no": (_CLEAR, ["??#####"]),
    "hu": (_ALL, ["???###"]),
    "se": (_CLEAR, ["???###", "???##?"]),
}
_PROVINCE_NAMES = dict(
    zip(
        PROVINCES,
        (
            "Anhui", "Shanghai", "Tianjin", "Chongqing", "Hebei", "Shanxi", "Inner Mongolia", "Liaoning", "Jilin",
            "Heilongjiang", "Jiangsu", "Zhejiang", "Beijing", "Fujian", "Jiangxi", "Shandong", "Henan", "Hubei",
            "Hunan", "Guangdong", "Guangxi", "Hainan", "Sichuan", "Guizhou", "Yunnan", "Tibet", "Shaanxi", "Gansu",
            "Qinghai", "Ningxia", "Xinjiang",
        ),
        strict=True,
    )
)  # fmt: skip


class Country(NamedTuple):
    """Formats of a country.

    Args:
        free: how much less likely a text is that has none of the formats: personalised, historical and foreign plates.
    """

    formats: tuple[Format, ...]
    free: float

    def fits(self, text: str) -> bool:
        """Whether a text in `models.alphabet.plain` form has one of the formats."""
        return any(
            len(text) == len(places) and all(c in allowed for c, allowed in zip(text, places, strict=True))
            for places in self.formats
        )


class Origin(NamedTuple):
    """Where a plate is from as its text tells; None for what it does not tell."""

    country: str | None
    region: str | None  # a province of China


UNKNOWN_ORIGIN = Origin(None, None)


def _formats(letters: str, patterns: Iterable[str]) -> tuple[Format, ...]:
    classes = {"?": letters, "#": _DIGITS, "*": letters + _DIGITS, "@": PROVINCES}
    return tuple(tuple(classes.get(mark, mark) for mark in pattern) for pattern in patterns)


_OF_EUROPE = {code: _formats(*parts) for code, parts in _EUROPE.items()}
COUNTRIES: dict[str, Country] = {
    "cn": Country(_formats(_CLEAR, _CHINA), 0.001),
    "us": Country(_formats(_ALL, _UNITED_STATES), 0.1),  # one plate in seven is a personalised one
    "ar": Country(_formats(_ALL, ("???###", "??###??", "?###???")), 0.001),
    "br": Country(_formats(_ALL, ("???####", "???#?##")), 0.001),
    "vn": Country(_formats("ABCDEFGHKLMNPRSTUVXYZ", _VIETNAM), 0.001),
    "europe": Country(tuple(dict.fromkeys(each for formats in _OF_EUROPE.values() for each in formats)), 0.01),
    **{code: Country(formats, 0.001) for code, formats in _OF_EUROPE.items()},
}
"""By code: ISO 3166's in small letters, and "europe" for fourteen countries of it together."""
_APART = ("cn", "us", "ar", "br", "vn", "europe")


def origin_of(text: str, country: str = "") -> Origin:
    """Country and region of a text in `models.alphabet.plain` form.

    Args:
        country: of `COUNTRIES`, if it is known; the text must have one of its formats. Without it a text has a country
            if it has formats of one alone.
    """
    fitting = [code for code in ([country] if country else _APART) if COUNTRIES[code].fits(text)]
    return Origin(fitting[0], _PROVINCE_NAMES.get(text[0])) if len(fitting) == 1 else UNKNOWN_ORIGIN
