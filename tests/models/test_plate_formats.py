"""Formats of countries as a prior: the best text by trying all of them, and the plates that are rendered."""

import itertools
import math

import numpy as np
import pytest

from app.synthetic.plates.made import _KINDS
from models import format_decoding, plate_formats
from models.alphabet import Alphabet
from models.ctc import read_frames
from models.format_decoding import FormatPrior
from models.plate_formats import COUNTRIES, Country, Origin, origin_of

torch = pytest.importorskip("torch")
TINY = Alphabet("01AB")
FORMATS = (("AB", "01"), ("01", "01", "B"))


@pytest.fixture
def tiny(monkeypatch):
    """A country of two formats over four characters, of which no text is free."""
    monkeypatch.setitem(COUNTRIES, "tiny", Country(FORMATS, 1e-30))
    return FormatPrior("tiny", TINY)


def probability(path_probabilities, text):
    """Probability of the best path that reads as a text, by trying every path."""
    numbers = TINY.encode(text)
    best = 0.0
    for path in itertools.product(range(len(TINY)), repeat=len(path_probabilities)):
        if [n for n, _ in itertools.groupby(path) if n] == numbers:
            best = max(best, math.prod(row[n] for row, n in zip(path_probabilities, path, strict=True)))
    return best


@pytest.mark.parametrize("seed", range(12))
def test_the_best_text_of_a_country_is_found_as_by_trying_all_paths(tiny, seed):
    rng = np.random.default_rng(seed)
    texts = ["".join(each) for places in FORMATS for each in itertools.product(*places)]
    wanted = TINY.encode(texts[int(rng.integers(len(texts)))])
    for place in sorted(rng.integers(0, len(wanted) + 1, 6 - len(wanted)), reverse=True):
        wanted.insert(place, 0)
    frames = 0.15 * rng.dirichlet(np.full(len(TINY), 0.5), 6) + 0.85 * np.eye(len(TINY))[wanted]
    every = {text: probability(frames, text) for text in texts}
    expected = max(every, key=every.get)
    path = tiny.best(np.log(frames))
    assert TINY.decode([each.number for each in path.characters]) == expected
    # Its own probability, and of all paths of the text the best or one about as good.
    assert math.log(every[expected] / 2) <= path.score <= math.log(every[expected]) + 1e-9


def read(frames, prior):
    logits = torch.log(torch.tensor(frames))[None]
    return prior.read(logits[0].double().numpy(), read_frames(logits)[0])


def test_a_look_alike_is_read_as_the_format_has_it_and_a_sure_text_stays():
    """Frames blank, 0, 1, A, B: the first place is 0 by a little and A by less; then 1."""
    known = Alphabet("01AB")
    prior = FormatPrior.__new__(FormatPrior)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(COUNTRIES, "tiny", Country((("AB", "01"),), 0.01))
        prior = FormatPrior("tiny", known)
    unsure = [[0.01, 0.56, 0.02, 0.40, 0.01], [0.96, 0.01, 0.01, 0.01, 0.01], [0.01, 0.02, 0.95, 0.01, 0.01]]
    found = read(unsure, prior)
    assert known.decode(found.numbers) == "A1"
    ahead = math.log(0.40 / 0.56) - math.log(0.01)  # of the text with the format
    trust = 1 / (1 + math.exp(-ahead))
    assert found.confidences[0] == pytest.approx(trust * 0.40 / (0.40 + 0.01 + 0.01), rel=1e-4)
    assert next(iter(found.likely[0])) == known.encode("A")[0]
    sure = [[0.001, 0.996, 0.001, 0.001, 0.001], unsure[1], unsure[2]]
    assert known.decode(read(sure, prior).numbers) == "01"


@pytest.mark.parametrize("kind", sorted(_KINDS))
def test_rendered_plates_have_a_format_of_their_country(kind):
    """Those of the United States but for one in three: the others are personalised or rare."""
    rng = np.random.default_rng(0)
    texts = [_KINDS[kind][0](rng).text for _ in range(200)]
    fitting = np.mean([COUNTRIES[kind].fits(text) for text in texts])
    assert fitting >= (0.66 if kind == "us" else 1.0)


def test_a_text_tells_its_country_and_province_where_no_other_has_its_format():
    assert origin_of("皖A12345") == Origin("cn", "Anhui")
    assert origin_of("ABC1234") == Origin(None, None)  # Brazil, the United States and the Czech Republic
    assert origin_of("ABC1234", "br") == Origin("br", None)
    assert origin_of("AB12345", "br") == Origin(None, None)
    assert origin_of("") == Origin(None, None)
    assert len(plate_formats._PROVINCE_NAMES) == 31


def test_an_unknown_country_is_named():
    with pytest.raises(ValueError, match="unknown country 'xx'; known: cn, us"):
        FormatPrior("xx", TINY)
    assert format_decoding.COUNTRIES is COUNTRIES
