"""Weather in an image: each kind, the weather of a sample, and the queries of a split."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as nnf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from app.core.sample import Sample, Weather
from app.data.augment import Augmentation
from app.data.crops import ImageReader
from app.data.dataset import Source, open_source
from app.data.readers.reader import Direction
from app.data.weather import WAYS, in_weather, rain, sample_in_weather, shown_in_weather
from app.federation.open_client import _data_of, _divided
from app.settings.augment import AugmentSettings
from app.settings.load import SettingsError, load_settings
from app.settings.weather import WEATHERS

STILL = dict.fromkeys(("flip", "shift", "rotate", "zoom", "colour", "grey", "blur", "erase"), 0.0)


def ramp(height=60, width=80):
    """Dark on the left, bright on the right, with a red square."""
    image = torch.linspace(20, 230, width).expand(3, height, width).clone()
    image[:, 20:40, 30:50] = torch.tensor([200.0, 20.0, 20.0]).view(3, 1, 1)
    return image.to(torch.uint8)


def rendered(kind, seed=0, image=None, **options):
    return in_weather(ramp() if image is None else image, kind, np.random.default_rng(seed), **options)


def flat(value, height=64, width=64):
    return torch.full((3, height, width), value, dtype=torch.uint8)


def test_every_name_of_the_settings_is_rendered():
    assert tuple(WAYS) == WEATHERS


@pytest.mark.parametrize("kind", WEATHERS)
def test_the_seed_alone_decides(kind):
    first = rendered(kind)
    assert (first.shape, first.dtype) == (ramp().shape, torch.uint8)
    assert torch.equal(first, rendered(kind))
    assert not torch.equal(first, rendered(kind, seed=1))
    assert not torch.equal(first, ramp())


@given(st.sampled_from(WEATHERS), st.integers(1, 96), st.integers(1, 96), st.integers(0, 10_000), st.booleans())
@settings(max_examples=100, deadline=None)
def test_images_of_any_shape(kind, height, width, seed, infrared):
    image = flat(100, height, width)
    changed = rendered(kind, seed, image, infrared=infrared)
    assert changed.shape == image.shape
    assert not infrared or (changed[0] == changed[1]).all()
    if min(height, width) < 4:
        assert torch.equal(changed, image)


def test_an_infrared_camera_sees_at_night_as_by_day():
    grey = ramp()[:1].expand(3, -1, -1).contiguous()
    assert torch.equal(rendered("night", image=grey, infrared=True), grey)
    assert not torch.equal(rendered("fog", image=grey, infrared=True), grey)


def test_fog_is_a_veil_of_koschmieders_law():
    """In linear light black becomes (1 - t) A and white t + (1 - t) A: the contrast left is t, 0.25 to 0.68."""
    for seed in range(30):
        black, white = (
            (rendered("fog", seed, flat(value)).float().mean(dim=(1, 2)) / 255) ** 2.2 for value in (0, 255)
        )
        left = (white - black).mean().item()
        assert math.exp(-3.912 * 0.35) - 0.01 < left < math.exp(-3.912 * 0.1) + 0.01
        sky = black / (1 - left)
        assert (sky > 0.45).all()
        assert (sky < 0.8).all()


def test_rain_covers_the_same_places_in_every_size():
    """An image for a network of 64 pixels, one of 256, and one of a ranked list that is not square."""
    for seed in range(5):
        black = {size: rendered("rain", seed, flat(0, *size)).float()[0] for size in ((64, 64), (256, 256), (300, 200))}
        small = {size: nnf.adaptive_avg_pool2d(each[None], 32)[0] for size, each in black.items()}
        first = small[64, 64]
        assert first.std() > 1, "streaks"
        for other in small.values():
            assert other.mean().item() == pytest.approx(first.mean().item(), rel=0.02)
            assert torch.corrcoef(torch.stack([first.flatten(), other.flatten()]))[0, 1] > 0.9
    images = [rain(ramp(64, 64), np.random.default_rng(0)), rendered("rain", 0, ramp(64, 64))]
    assert not torch.equal(*images), "enhancement renders in the image's own size, as it did"


def test_motion_smears_along_the_way_and_keeps_the_light():
    """A white point becomes a line of 5 to 12 % of the longer side, nearly level, with the light that it had."""
    image = flat(0, 101, 101)
    image[:, 50, 50] = 255
    for seed in range(20):
        light = (rendered("blur", seed, image).float()[0] / 255) ** 2.2
        assert light.sum().item() == pytest.approx(1, abs=0.06)  # eight bits
        rows, columns = (light > 0.005).nonzero(as_tuple=True)
        wide, tall = (int(places.max() - places.min()) + 1 for places in (columns, rows))
        assert 5 <= wide <= 14
        assert tall <= 1.5 + wide * math.tan(math.radians(21)) + 1
    assert torch.equal(rendered("blur", 0, flat(100)), flat(100))


def test_glare_is_white_at_a_lamp_and_weaker_away_from_it():
    for seed in range(20):
        light = (rendered("glare", seed, flat(0, 120, 120)).float()[1] / 255) ** 2.2
        place = int(light.flatten().argmax())
        row, column = divmod(place, 120)
        if light.max() < 0.99:
            continue  # the lamp is just outside
        distances = torch.hypot(torch.arange(120.0)[:, None] - row, torch.arange(120.0)[None, :] - column)
        near, far = light[distances < 8].mean(), light[(distances > 50) & (distances < 58)].mean()
        assert far < near
    dim = rendered("glare", 0, flat(255, 120, 120)).float()
    assert (dim >= 255 * 0.5 ** (1 / 2.2) - 1).all(), "the exposure goes down by half at most"


def seen(path="set/a.png", kind="fog", seed=0, **changes):
    return Sample(Path(path), 0, 0, weather=Weather(kind, seed), **changes)


def test_the_weather_of_a_sample_is_of_its_name_and_seed():
    first = sample_in_weather(ramp(), seen())
    assert torch.equal(first, sample_in_weather(ramp(), seen("elsewhere/set/a.png")))
    for other in (seen("set/b.png"), seen("other/a.png"), seen(seed=1), seen(kind="rain")):
        assert not torch.equal(first, sample_in_weather(ramp(), other))
    assert sample_in_weather(ramp(), replace(seen(), weather=None)).equal(ramp())
    grey = sample_in_weather(ramp(), seen(modality="infrared"))
    assert (grey[0] == grey[2]).all()


def test_the_image_shown_is_the_image_embedded():
    picture = Image.fromarray(ramp().numpy().transpose(1, 2, 0))
    shown = torch.from_numpy(np.asarray(shown_in_weather(picture, seen())).transpose(2, 0, 1).copy())
    assert torch.equal(shown, sample_in_weather(ramp(), seen()))
    assert shown_in_weather(picture, replace(seen(), weather=None)) is picture


def test_a_reader_gives_vehicle_and_plate_in_the_weather_and_keeps_them_without(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(ramp().numpy().transpose(1, 2, 0)).save(path)
    reader = ImageReader((32, 32), (16, 16), 1)
    plain = Sample(path, 0, 0, plate_path=path)
    foggy = replace(plain, weather=Weather("fog", 0))
    for read in (reader.vehicle, reader.plate):
        before = read(plain)
        assert not torch.equal(read(foggy), before)
        assert torch.equal(read(foggy), read(foggy))
        assert torch.equal(read(plain), before)
    gone = replace(foggy, path=tmp_path / "none.png", plate_path=None)
    assert reader.vehicle(gone) is None
    assert reader.plate(gone) is None


@pytest.fixture
def split_of(base_overrides):
    """The directions of a split, as a run with these further settings has them."""

    def of(split, more=""):
        chosen = load_settings(f"{base_overrides} {more}")
        return open_source(chosen.data, chosen.seed).evaluation(split)

    return of


def test_the_queries_of_the_measured_split_alone_are_in_the_weather(split_of):
    [before], [after] = split_of("test"), split_of("test", "data.weather=rain seed=3")
    assert [s.weather[:2] for s in after.query] == [("rain", 3)] * len(before.query)
    assert [replace(s, weather=None) for s in after.query] == list(before.query)
    assert after.gallery == before.gallery
    assert split_of("val", "data.weather=rain") == split_of("val")


def test_rounds_are_measured_without_weather_also_on_the_split_of_the_final_figures(base_overrides):
    chosen = load_settings(f"{base_overrides} data.val_split=test data.weather=rain")
    divided = _divided(chosen, chosen.federation.num_clients)
    _, directions = _data_of(divided, chosen, "client-0", 0)
    assert all(s.weather is None for each in directions for s in each.query)
    assert any(each.query for each in directions)
    assert all(s.weather for s in divided.source.evaluation("test")[0].query)


class Flat:
    """Two images of one vehicle in a folder."""

    def __init__(self, folder):
        self.samples = tuple(Sample(folder / f"{number}.png", 0, number) for number in range(2))

    def evaluation(self, split):
        del split
        return [Direction("all", self.samples, self.samples)]


def test_images_in_the_root_itself_have_the_same_weather_wherever_it_lies(tmp_path, base_overrides):
    data = replace(load_settings(base_overrides).data, weather="fog")

    def first(root, folder=""):
        source = Source(Flat(root / folder), replace(data, root=str(root)), 0)
        return sample_in_weather(ramp(), source.evaluation("test")[0].query[0])

    assert torch.equal(first(tmp_path / "one"), first(tmp_path / "other"))
    assert not torch.equal(first(tmp_path / "one", "a"), first(tmp_path / "one"))
    assert torch.equal(first(tmp_path / "one", "a"), sample_in_weather(ramp(), seen("x/a/0.png")))


class Uneven:
    """Eight vehicles of three images, of which a vehicle has none to three as queries."""

    def train(self):
        return [Sample(Path(f"{pid}-{number}.png"), pid, number, site="a") for pid in range(8) for number in range(3)]

    def evaluation(self, split):
        del split
        samples = self.train()
        return [Direction("all", tuple(s for s in samples if s.camid < s.pid % 4), tuple(samples))]


@pytest.mark.parametrize("by", ["site", "identity", "none"])
def test_clients_have_the_same_vehicles_in_every_weather(base_overrides, by):
    """An image as a query in the weather and in the gallery as it is counts once when vehicles are dealt."""
    data = load_settings(f"{base_overrides} data.partition.by={by}").data

    def parts(weather):
        return Source(Uneven(), replace(data, weather=weather), 0).evaluation_parts("test", 2)

    for before, after in zip(parts("none"), parts("fog"), strict=True):
        for one, other in zip(before, after, strict=True):
            assert [replace(s, weather=None) for s in other.query] == list(one.query)
            assert all(s.weather for s in other.query)
            assert other.gallery == one.gallery


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("data.weather=snow", "data.weather must be one of none, rain, night, fog, blur, glare; got 'snow'"),
        ("experiment=plates_countries data.weather=fog", "data.weather=fog is of vehicles; task=plate_text has none"),
    ],
)
def test_another_weather_or_a_task_without_vehicles_is_refused(words, message):
    with pytest.raises(SettingsError, match=message.replace("'", ".")):
        load_settings(words)


@pytest.mark.slow
def test_online_weather_changes_as_many_images_as_asked_for_each_kind_among_them():
    batch = ramp(40, 60).expand(400, -1, -1, -1).contiguous()
    parts = {**STILL, "weather": 0.25}
    changed = Augmentation(AugmentSettings(**parts))(batch, torch.Generator().manual_seed(0))
    touched = changed[[not torch.equal(one, other) for one, other in zip(batch, changed, strict=True)]].float()
    assert 60 <= len(touched) <= 140  # 100 expected, four standard deviations of 8.7 and a little
    means, before = touched.mean(dim=(1, 2, 3)), batch[0].float().mean()
    assert (means < 0.7 * before).any(), "night"
    assert (means > 1.2 * before).any(), "fog"
    assert ((means - before).abs() < 5).any(), "blur"
    again = Augmentation(AugmentSettings(**parts))(batch, torch.Generator().manual_seed(0))
    assert torch.equal(changed, again)
