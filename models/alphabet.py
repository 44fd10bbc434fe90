"""Characters of number plates, and plates as sequences of their numbers."""

import unicodedata
from collections.abc import Iterable, Sequence

LATIN = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
PROVINCES = "皖沪津渝冀晋蒙辽吉黑苏浙京闽赣鲁豫鄂湘粤桂琼川贵云藏陕甘青宁新"  # the first character of plates in China
SPECIAL = "警学港澳使领挂"  # police, learners, Hong Kong, Macao, embassies, consulates, trailers
CHARACTERS = LATIN + PROVINCES + SPECIAL
"""One alphabet for all countries: a client that never sees a province leaves its row as it is."""


class Alphabet:
    """Numbers of characters, from 1; 0 is the blank of CTC, or the end of a text.

    Args:
        characters: each once.

    Raises ValueError for a character that stands twice."""

    def __init__(self, characters: str = CHARACTERS) -> None:
        if len(set(characters)) != len(characters):
            raise ValueError(f"a character stands twice in the alphabet {characters!r}")
        self.characters = characters
        self._numbers = {character: number for number, character in enumerate(characters, start=1)}

    def __len__(self) -> int:
        """Characters and the blank."""
        return len(self.characters) + 1

    def encode(self, text: str) -> list[int]:
        """Numbers of a text in `plain` form. Raises ValueError naming a character that is not in the alphabet."""
        try:
            return [self._numbers[character] for character in text]
        except KeyError as error:
            raise ValueError(f"{text!r} holds {error.args[0]!r}, which is not in the alphabet") from error

    def decode(self, numbers: Sequence[int]) -> str:
        """The text of these numbers; 0 is left out."""
        return "".join(self.characters[number - 1] for number in numbers if number)

    def knows(self, text: str) -> bool:
        """Whether every character of a text is in the alphabet."""
        return all(character in self._numbers for character in text)


def plain(text: str) -> str:
    """A plate as it is compared: capital letters and digits without accents, blanks, hyphens and dots."""
    decomposed = unicodedata.normalize("NFKD", text.upper())
    return "".join(character for character in decomposed if character.isalnum())


def edit_distance(first: str, second: str) -> int:
    """Fewest insertions, deletions and replacements that turn one text into the other (Levenshtein, 1966)."""
    row = list(range(len(second) + 1))
    for i, one in enumerate(first, start=1):
        above_left, row[0] = row[0], i
        for j, other in enumerate(second, start=1):
            above_left, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above_left + (one != other))
    return row[-1]


def character_error_rate(pairs: Iterable[tuple[str, str]]) -> float:
    """Edit distances over characters of the true texts, of (read, true) pairs. Raises ValueError without characters."""
    listed = list(pairs)
    characters = sum(len(true) for _, true in listed)
    if not characters:
        raise ValueError("there are no characters to be read")
    return sum(edit_distance(read, true) for read, true in listed) / characters
