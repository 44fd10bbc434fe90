"""Plates read in several views: where they are moved to, which text is taken, and how sure its characters are."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from app.evaluation.plate_frames import combined
from app.evaluation.plate_texts import PlateReading
from models.alphabet import Alphabet
from models.ctc import read_frames
from models.format_decoding import FormatPrior
from models.input_statistics import InputStatistics
from models.plate_reader import PlateReader
from models.plate_views import log_likelihoods, read_views, views_of


def test_views_are_moved_by_their_share():
    """A ramp of 2 a column and 3 a row, moved right by x and down by y, is lower by 2 x + 3 y everywhere inside."""
    rows, columns = torch.meshgrid(torch.arange(30), torch.arange(60), indexing="ij")
    image = (20 + 2 * columns + 3 * rows).byte().expand(1, 3, -1, -1)
    whole, up_left, down_right = views_of(image, 3).unflatten(0, (3, 1))
    assert torch.equal(whole, image)
    inside = ..., slice(2, -2), slice(2, -2)
    by = 2 * 0.01 * 60 + 3 * 0.03 * 30
    assert (up_left[inside].float() - image[inside].float() - by).abs().max() <= 0.5  # of rounding to bytes
    assert (image[inside].float() - down_right[inside].float() - by).abs().max() <= 0.5
    assert torch.equal(views_of(image, 1), image)


def by_enumeration(frames, text):
    """The probability of a text: of all paths that give it, as the definition of CTC has it."""
    total = 0.0
    for path in itertools.product(range(frames.shape[1]), repeat=len(frames)):
        joined = [number for number, _ in itertools.groupby(path) if number]
        if joined == list(text):
            total += math.prod(frames[place, number] for place, number in enumerate(path))
    return total


def probabilities(seed, *shape):
    values = np.random.default_rng(seed).random(shape) ** 3
    return values / values.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("seed", range(5))
def test_likelihoods_are_those_of_all_paths(seed):
    frames = probabilities(seed, 2, 5, 4)
    texts = [(), (1,), (2, 2), (1, 3, 1), (1, 1, 1)]
    found = log_likelihoods(torch.from_numpy(frames).log(), texts).exp()
    expected = [[by_enumeration(view, text) for text in texts] for view in frames]
    np.testing.assert_allclose(found, expected, atol=1e-12)  # both in float64
    assert log_likelihoods(torch.from_numpy(frames).log(), [(1, 1, 1, 1)]).tolist() == [[-math.inf], [-math.inf]]


@pytest.mark.parametrize("seed", range(20))
def test_the_text_likeliest_in_all_views_is_read(seed):
    frames = probabilities(seed, 3, 2, 5, 3)  # three views of two plates
    found = read_views(torch.from_numpy(frames).log(), positions=False)
    for place, reading in enumerate(found):
        views = frames[:, place]
        read = [tuple(each.numbers) for each in read_frames(torch.from_numpy(views).log())]
        best = max(read, key=lambda text: sum(math.log(by_enumeration(view, text)) for view in views))
        assert tuple(reading.numbers) == best


def sharp(*paths):
    """Log probabilities (V, 1, T, 4) of views whose frames are 0.7 the given number and 0.1 each other."""
    frames = torch.full((len(paths), 1, len(paths[0]), 4), 0.1)
    for view, path in enumerate(paths):
        for place, number in enumerate(path):
            frames[view, 0, place, number] = 0.7
    return frames.log()


def test_a_view_that_reads_another_character_makes_it_less_sure():
    (reading,) = read_views(sharp([1, 0, 2], [1, 0, 2], [1, 0, 3]), positions=False)
    assert reading.numbers == [1, 2]
    np.testing.assert_allclose(reading.confidences, [0.7, (0.7 + 0.7 + 0.1) / 3], atol=1e-6)
    assert [next(iter(place)) for place in reading.likely] == [1, 2]
    np.testing.assert_allclose(reading.likely[1][3], (0.1 + 0.1 + 0.7) / 3, atol=1e-6)
    np.testing.assert_allclose([sum(place.values()) for place in reading.likely], 1, atol=1e-6)


def test_a_view_that_reads_another_number_of_characters_says_none():
    (reading,) = read_views(sharp([1, 0, 2], [1, 0, 2], [1, 0, 0]), positions=False)
    assert reading.numbers == [1, 2]
    np.testing.assert_allclose(reading.confidences, [1.4 / 3, 1.4 / 3], atol=1e-6)
    assert [list(place)[:1] for place in reading.likely] == [[1], [2]]


@pytest.mark.parametrize("seed", range(30))
def test_a_reading_with_itself_is_the_same_text(seed):
    """Whatever the views disagree about: readings of several photographs are combined by their likely characters."""
    frames = torch.from_numpy(probabilities(seed, 3, 4, 7, 5)).log()
    for reading in read_views(frames, positions=False):
        text = "".join(map(str, reading.numbers))
        likely = tuple({str(n) if n else "": share for n, share in place.items()} for place in reading.likely)
        one = PlateReading(text, tuple(reading.confidences), likely)
        both = combined([one, one])
        assert text == ("" if both is None else both.text)
        assert all(0 < sure <= 1 for sure in reading.confidences)


def test_nothing_read_in_any_view_is_no_text():
    (reading,) = read_views(sharp([0, 0, 0], [0, 0, 0], [0, 0, 0]), positions=False)
    assert reading == ([], [], [])


def test_one_view_is_read_as_before():
    frames = torch.from_numpy(probabilities(0, 4, 6, 5)).log()
    assert read_views(frames[None], positions=False) == read_frames(frames)


def test_a_format_decides_between_views():
    """Argentine plates: two of three views read an O where only digits stand, and one a 0."""
    alphabet = Alphabet()
    prior = FormatPrior("ar", alphabet)
    assert prior.has_format(alphabet.encode("AB123CD"))
    assert prior.has_format(alphabet.encode("ABC123"))
    assert not prior.has_format(alphabet.encode("AB12OCD"))
    assert not prior.has_format(alphabet.encode("AB123C"))
    assert not prior.has_format([])
    frames = torch.full((3, 1, 13, len(alphabet)), 1e-4)
    for view, text in enumerate(("AB12OCD", "AB12OCD", "AB120CD")):
        for place, number in enumerate(alphabet.encode(text)):
            frames[view, 0, 2 * place, number] = 0.6
            if place == 4:
                frames[view, 0, 2 * place, alphabet.encode("O0")] += 0.3
        frames[view, 0, 1::2, 0] = 1
    frames = (frames / frames.sum(dim=3, keepdim=True)).log()
    assert alphabet.decode(read_views(frames, positions=False)[0].numbers) == "AB12OCD"
    assert alphabet.decode(read_views(frames, positions=False, prior=prior)[0].numbers) == "AB120CD"


def test_a_text_without_a_format_has_to_be_clear_in_all_views_together():
    """One view shows an O so clearly that it keeps it, the other rather a 0: together they are in doubt, and 0 fits."""
    alphabet = Alphabet()
    prior = FormatPrior("ar", alphabet)
    ratio = 10 / math.exp(prior.free)  # of O to 0 in the first view
    frames = torch.full((2, 1, 13, len(alphabet)), 1e-9)
    for view, (o, zero) in enumerate(((0.9, 0.9 / ratio), (0.4, 0.6))):
        for place, number in enumerate(alphabet.encode("AB12OCD")):
            frames[view, 0, 2 * place, number] = 1
        frames[view, 0, 8, alphabet.encode("O0")] = torch.tensor([o, zero])
        frames[view, 0, 1::2, 0] = 1
    frames = frames.log()
    (clear,) = read_views(frames[:1], positions=False, prior=prior)
    (both,) = read_views(frames, positions=False, prior=prior)
    assert 0 < math.log(ratio * 0.4 / 0.6) / 2 < -prior.free  # O is the likelier one in both, by less than `free`
    assert [alphabet.decode(each.numbers) for each in (clear, both)] == ["AB12OCD", "AB120CD"]


def test_positions_are_averaged():
    logits = torch.from_numpy(np.log(probabilities(3, 3, 2, 4, 5)))
    for place, reading in enumerate(read_views(logits, positions=True)):
        mean = np.exp(logits[:, place].numpy().mean(axis=0))
        best = (mean / mean.sum(axis=1, keepdims=True)).argmax(axis=1).tolist()
        assert reading.numbers == best[: best.index(0) if 0 in best else len(best)]


class Cells(nn.Module):
    """A backbone whose feature map is the image, made smaller."""

    def forward(self, images):
        return nn.functional.avg_pool2d(images, 4)


def test_a_reader_takes_one_view_of_all_plates_after_the_other():
    torch.manual_seed(0)
    reader = PlateReader(Cells(), 3, 4, InputStatistics((0.5,) * 3, (0.5,) * 3), columns=8, dim=16).eval()
    views = torch.rand(3, 2, 3, 16, 32)
    with torch.no_grad():
        expected = read_views(torch.stack([reader(each).logits for each in views]), positions=False)
    found = reader.read(views.flatten(0, 1), views=3)
    assert [reading.numbers for reading in found] == [reading.numbers for reading in expected]
    for one, other in zip(found, expected, strict=True):  # a batch of six is rounded otherwise than three of two
        np.testing.assert_allclose(one.confidences, other.confidences, atol=1e-5)
