"""The mean of global models against NumPy's, and the settings that ask for it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.global_state import GlobalModel
from app.settings.federation import FederationSettings
from app.settings.load import SettingsError, load_settings


def model(vector, mean=None):
    return GlobalModel(vector, {}, {}, mean)


@given(count=st.integers(1, 20), first=st.integers(1, 12), seed=st.integers(0, 99))
def test_the_mean_is_that_of_the_versions_from_the_first_on(count, first, seed):
    """Float32 keeps seven digits; twenty steps of a running mean cost one."""
    vectors = np.random.default_rng(seed).normal(size=(count + 1, 5)).astype(np.float32)
    held = model(vectors[0])
    for version in range(1, count + 1):
        held = model(vectors[version], held.mean_after(vectors[version], version, first))
    if first > count:
        assert held.mean is None
    else:
        np.testing.assert_allclose(held.mean.vector, vectors[first:].mean(axis=0), rtol=1e-5, atol=1e-6)
        assert held.mean.vector.dtype == np.float32


def test_a_mean_of_variances_stays_at_zero_or_above():
    rng = np.random.default_rng(0)
    held = model(np.zeros(1000, np.float32))
    for version in range(1, 30):
        vector = np.where(rng.random(1000) < 0.5, 0, 10 ** rng.uniform(-30, 3, 1000)).astype(np.float32)
        held = model(vector, held.mean_after(vector, version, 1))
        assert held.mean.vector.min() >= 0


def test_the_arrays_of_a_store_give_the_model_back():
    held = GlobalModel(np.ones(3, np.float32), {"first": np.zeros(3, np.float32)}, {"key": np.arange(2)})
    assert GlobalModel.of(held.arrays()).mean is None
    begun = model(held.vector, held.mean_after(held.vector, 4, 4))
    found = GlobalModel.of(begun.arrays())
    assert found.mean.since == 4
    np.testing.assert_array_equal(found.mean.vector, held.vector)
    assert found.result(FederationSettings()) is found.vector
    assert found.result(FederationSettings(averaged_rounds=2)) is found.mean.vector
    assert held.result(FederationSettings(averaged_rounds=2)) is held.vector


@pytest.mark.parametrize(
    ("words", "first"),
    [
        ("", None),
        ("federation.averaged_rounds=1", None),
        ("federation.averaged_rounds=4", 7),
        ("federation.averaged_rounds=30", 1),
        ("personalise.averaged_rounds=4", None),
        ("personalise=on personalise.averaged_rounds=4", 7),
        ("personalise=on personalise.averaged_rounds=4 federation.averaged_rounds=2", 9),
    ],
)
def test_the_first_version_of_the_mean(words, first):
    assert load_settings(f"federation.rounds=10 {words}").averaged_from == first


def test_a_run_that_may_end_early_has_no_mean_of_its_last_rounds():
    with pytest.raises(SettingsError, match=r"averaged_rounds=3 .* federation.patience=2 may end the run"):
        load_settings("federation.averaged_rounds=3 federation.patience=2")
