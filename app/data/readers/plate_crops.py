"""Images that show a plate or a word and nothing else."""

from collections.abc import Iterable
from pathlib import Path

from app.core.sample import Sample
from app.data.readers.plate_splits import numbered
from models.alphabet import plain


def crops(rows: Iterable[tuple[Path, str, str]]) -> list[Sample]:
    """Samples of (image, text, site), in their order.

    The image is the plate too; its text is written as `models.alphabet.plain` writes it, None if nothing is left of
    it. pid is the text, every image has a camid of its own."""
    listed = [(path, plain(text), site) for path, text, site in rows]
    pids = numbered([text for _, text, _ in listed])
    return [
        Sample(path, pids[text], camid, plate_path=path, plate_text=text or None, site=site)
        for camid, (path, text, site) in enumerate(listed)
    ]
