"""Comparisons that a library makes: a query in one modality, views that were enrolled in one.

Images of different modalities are less alike than images of one, so that each of the four kinds of comparison is a
library of its own, with its own threshold. Comparisons of visible images have the library's plain name.
"""

from collections.abc import Iterable, Iterator

from app.core.sample import Modality
from app.register.rows import Vectors

MODALITIES: tuple[Modality, ...] = ("visible", "infrared")


def held_name(library: str, held: Modality) -> str:
    """Under which name the embeddings of views of a modality are kept."""
    return library if held == "visible" else f"{library}-{held}"


def held_vectors(vectors: Vectors, held: str) -> Vectors:
    """Embeddings of a view of a modality under the names by which they are kept."""
    modality: Modality = "infrared" if held == "infrared" else "visible"
    return {held_name(library, modality): vector for library, vector in vectors.items()}


def compared_name(library: str, asked: Modality, held: Modality) -> str:
    """What a comparison of a photograph in modality `asked` with views in modality `held` is called."""
    return library if asked == held == "visible" else f"{library}-{asked}-to-{held}"


def compared_names(libraries: Iterable[str]) -> Iterator[tuple[str, str, Modality, Modality]]:
    """Name, library, asked and held of every kind of comparison."""
    for library in libraries:
        for asked in MODALITIES:
            for held in MODALITIES:
                yield compared_name(library, asked, held), library, asked, held
