"""Boxes of `kahe`: a share opens for one attempt, direction and proof, and for nobody else."""

import pytest

from strategies.ciphers.kahe.session import BOX_OVERHEAD, close_box, open_box
from strategies.ciphers.kahe.sharing import BadSharesError

SEED = bytes(range(32))


def test_a_box_opens_for_its_purpose_alone():
    about = (SEED, b"attempt", "site a", "site b", b"proof")
    box = close_box(b"share", *about)
    assert len(box) == len(b"share") + BOX_OVERHEAD
    assert open_box(box, *about) == b"share"
    for place, other in enumerate((bytes(32), b"another", "site c", "site c", b"other")):
        changed = [*about[:place], other, *about[place + 1 :]]
        with pytest.raises(BadSharesError, match=f"{changed[2]} dealt bad shares: its share does not open"):
            open_box(box, *changed)
    with pytest.raises(BadSharesError, match="does not open"):
        open_box(box, SEED, b"attempt", "site b", "site a", b"proof")  # sent back
    for damaged in (b"", box[:11], box[:-1], box + b"x"):
        with pytest.raises(BadSharesError, match="does not open"):
            open_box(damaged, *about)


def test_the_same_share_is_never_sealed_alike():
    assert len({close_box(b"share", SEED, b"attempt", "a", "b", b"proof") for _ in range(20)}) == 20
