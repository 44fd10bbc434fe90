"""The alphabet, readings from frames, and a small reader that learns made plates."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from models.alphabet import CHARACTERS, Alphabet, character_error_rate, edit_distance, plain
from models.backbone import build_backbone
from models.ctc import read_frames, read_positions
from models.input_statistics import InputStatistics
from models.plate_reader import PlateReader


def test_the_alphabet_there_and_back():
    alphabet = Alphabet()
    assert len(alphabet) == 1 + 36 + 31 + 7
    assert alphabet.decode(alphabet.encode("皖A12B港")) == "皖A12B港"
    assert alphabet.encode("01") == [1, 2]
    assert alphabet.decode([0, 1, 0, 2]) == "01"
    with pytest.raises(ValueError, match="holds 'Ж'"):
        alphabet.encode("AЖ")
    with pytest.raises(ValueError, match="twice"):
        Alphabet("ABA")
    assert alphabet.knows(CHARACTERS)
    assert not alphabet.knows("a")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("ab-12.3 c", "AB123C"), ("京A·88888", "京A88888"), ("Ž1ü", "Z1U"), ("—", ""), ("１２", "12")],
)
def test_plates_are_compared_without_what_separates(text, expected):
    assert plain(text) == expected


def slow_distance(first, second):
    if not first or not second:
        return len(first) + len(second)
    return min(
        slow_distance(first[1:], second) + 1,
        slow_distance(first, second[1:]) + 1,
        slow_distance(first[1:], second[1:]) + (first[0] != second[0]),
    )


@given(st.text("AB0", max_size=5), st.text("AB0", max_size=5))
def test_edit_distances_equal_their_definition(first, second):
    assert edit_distance(first, second) == slow_distance(first, second)


def test_the_character_error_rate_is_over_all_characters():
    assert character_error_rate([("AB1", "AB12"), ("X", "XYZ")]) == (1 + 2) / 7
    with pytest.raises(ValueError, match="no characters"):
        character_error_rate([("A", "")])


@given(st.lists(st.lists(st.integers(0, 3), min_size=6, max_size=6), min_size=1, max_size=4), st.integers(0, 10**6))
def test_frames_are_read_as_ctc_defines(paths, seed):
    """Repeats joined, then blanks out, as itertools has it; each character as sure as the surest of its run."""
    rng = np.random.default_rng(seed)
    logits = rng.random((len(paths), 6, 4))
    for row, path in enumerate(paths):
        for frame, number in enumerate(path):
            logits[row, frame, number] = 4 + rng.random()
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    for row, found in enumerate(read_frames(torch.from_numpy(logits))):
        runs = [(n, [f for f, _ in group]) for n, group in itertools.groupby(enumerate(paths[row]), key=lambda p: p[1])]
        expected = [(n, max(probabilities[row, f, n] for f in frames)) for n, frames in runs if n]
        assert found.numbers == [n for n, _ in expected]
        np.testing.assert_allclose(found.confidences, [c for _, c in expected], atol=1e-6)


def test_positions_are_read_up_to_the_end():
    logits = torch.full((2, 4, 3), -5.0)
    for row, numbers in enumerate([[1, 2, 0, 1], [2, 2, 1, 1]]):
        for place, number in enumerate(numbers):
            logits[row, place, number] = 5.0
    first, second = read_positions(logits)
    assert (first.numbers, second.numbers) == ([1, 2], [2, 2, 1, 1])
    assert len(first.confidences) == 2


STATISTICS = InputStatistics((0.5,) * 3, (0.5,) * 3)


class Cells(nn.Module):
    """A backbone whose feature map is the picture, made smaller."""

    def forward(self, pictures):
        return F.avg_pool2d(pictures, 4)


def made(decoder):
    torch.manual_seed(0)
    return PlateReader(Cells(), 3, 4, STATISTICS, columns=8, dim=16, decoder=decoder, max_length=3)


@pytest.mark.slow
@pytest.mark.parametrize("decoder", ["ctc", "attention"])
def test_a_reader_learns_what_it_is_shown(decoder):
    """Plates of two characters: red, green or blue blocks, in one line or one above the other."""
    reader = made(decoder).train()
    texts = [(a, b) for a in (1, 2, 3) for b in (1, 2, 3) if a != b]
    pictures = []
    for two_lines in (False, True):
        for a, b in texts:
            picture = torch.zeros(3, 16, 32)
            places = ((slice(0, 8), slice(4, 28)), (slice(8, 16), slice(4, 28)))
            if not two_lines:
                places = ((slice(4, 12), slice(2, 14)), (slice(4, 12), slice(18, 30)))
            picture[a - 1][places[0]] = 1
            picture[b - 1][places[1]] = 1
            pictures.append(picture)
    batch, truth = torch.stack(pictures), torch.tensor(texts + texts)
    engine = torch.optim.Adam(reader.parameters(), lr=3e-3)
    for _ in range(250):
        logits = reader(batch).logits
        if decoder == "ctc":
            frames = torch.full((len(batch),), logits.shape[1])
            lengths = torch.full((len(batch),), 2)
            loss = F.ctc_loss(logits.log_softmax(2).transpose(0, 1), truth, frames, lengths)
        else:
            loss = F.cross_entropy(logits.flatten(0, 1), F.pad(truth, (0, 1)).flatten())
        engine.zero_grad()
        loss.backward()
        engine.step()
    with pytest.raises(RuntimeError, match="evaluation mode"):
        reader.read(batch)
    found = reader.eval().read(batch)
    assert [reading.numbers for reading in found] == truth.tolist()
    assert min(sure for reading in found for sure in reading.confidences) > 0.5


def test_the_usual_size_is_under_three_million_values():
    backbone = build_backbone("mobilenetv3_small_100")
    reader = PlateReader(backbone, backbone.num_features, len(Alphabet()), STATISTICS)
    assert sum(parameter.numel() for parameter in reader.parameters()) < 3_000_000
    assert reader(torch.zeros(2, 3, 64, 192)).logits.shape == (2, 48, len(Alphabet()))
    with pytest.raises(ValueError, match="unknown decoder 'beam'"):
        PlateReader(backbone, 3, 3, STATISTICS, decoder="beam")
