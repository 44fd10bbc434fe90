"""Keys of records of equalisation, as earlier versions wrote them."""

from pathlib import Path

import pytest

from app.core.sample import Sample
from app.equalise.keyed_settings import keyed
from app.equalise.run import record_key
from app.experiment import baselines
from app.settings.load import load_settings

THEN = {
    "two_cam": ["train.augment.weather=0", "model.vehicle.image_size=160"],
    "roadscene": [
        *("loss.perceptual_edge_weight=1", "loss.perceptual_longest=16", "loss.centre_contrast_feature=after_norm"),
        "model.layout_weight=0",
    ],
}
SAMPLES = [Sample(Path("a/1.png"), 1, 0)]


@pytest.mark.parametrize(
    ("experiment", "key", "own"),
    [
        ("two_cam", "cfd09bae735202462758333bf932c408", "f4ba930e2d8373b7bfea833478f8b4eb"),
        ("roadscene", "701540f59a7df3de14dfb1a157a86b94", "ba1a53459798ed7338a46615026c2045"),
    ],
)
def test_keys_of_the_version_before_the_newer_settings(experiment, key, own, monkeypatch):
    """A failure after a setting was added: it belongs into `keyed_settings`, with its default. Of recipes that have
    changed since, the values of then are given."""
    settings = load_settings([f"experiment={experiment}", "data.root=no_such_folder", *THEN[experiment]])
    assert record_key(settings, SAMPLES, "m", 3) == key

    def given(settings, samples, _, *, model_key, seed, **__):
        return record_key(settings, samples, model_key, seed)

    monkeypatch.setattr(baselines, "equalise", given)
    assert baselines.equalise_alone(settings, SAMPLES, "client-0", always=True) == own


def test_another_value_of_a_newer_setting_counts():
    base = ["experiment=two_cam", "data.root=."]
    plain = load_settings(base)
    assert "trainable" not in keyed("model", plain.model)
    for word, name in [
        ("train.augment.weather=0.5", "train"),
        ("loss.memory=64", "loss"),
        ("+model.vehicle.sha256=" + 64 * "0", "model"),
    ]:
        words = [*base, word]
        if name == "model":
            words.append("model.vehicle.pretrained=/no/such.safetensors")
        other = load_settings(words)
        assert keyed(name, getattr(other, name)) != keyed(name, getattr(plain, name))
        last = word.partition("=")[0].split(".")[-1]
        assert last in str(keyed(name, getattr(other, name)))
