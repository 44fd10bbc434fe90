"""Differential privacy over runs and restarts: noise, the node's ledger, and the figure in the summary."""

import json
import multiprocessing

import numpy as np
import pytest
from federation_checks import PowerCutError, power_cut_at
from scipy import stats
from scipy.optimize import brentq

from app.federation import dp
from app.federation.dp import composed_epsilon, privatise
from app.federation.ledger import FILE, PrivacyBudgetError, PrivacyLedger
from app.federation.noise import CHUNK, normal_chunks
from app.settings.load import SettingsError, load_settings, settings_from
from app.settings.privacy import DpSettings

NOISY = "privacy.dp.clip=0.5 privacy.dp.noise_multiplier=8 federation.batch_norm=local"


def exact_epsilon(counts, delta=1e-5):
    """Of Gaussian mechanisms by their duality with mu-GDP (Dong et al., 2022, Cor. 2.13 and 3.3): sensitivity 2 C under
    noise of z C is mu = 2 / z, and mus of a composition add in squares."""
    mu = np.sqrt(sum(count * (2 / z) ** 2 for z, count in counts.items()))

    def excess(epsilon):
        upper = stats.norm.cdf(-epsilon / mu + mu / 2)
        return upper - np.exp(epsilon) * stats.norm.cdf(-epsilon / mu - mu / 2) - delta

    return brentq(excess, 1e-3, 100)


def noise(count):
    return np.concatenate([noise for _, noise in normal_chunks(count)])


def test_noise_is_normal_and_never_the_same():
    """Kolmogorov and Smirnov against the normal distribution; pairs of one radius are not correlated; the tails reach
    as far as they should: of 2 * 10^6 values 2 * 10^6 * 2 * 2.87e-7 = 1.1 lie beyond 5 standard deviations."""
    first, second = noise(2_000_001), noise(2_000_001)
    assert first.size == 2_000_001
    assert stats.kstest(first, "norm").pvalue > 1e-6
    half = CHUNK // 2
    assert abs(np.corrcoef(first[:half], first[half:CHUNK])[0, 1]) < 6 / np.sqrt(half)
    assert abs(np.corrcoef(first, second)[0, 1]) < 6 / np.sqrt(first.size)
    assert 4 < np.abs(first).max() < 8
    assert not np.isin(first[:100], second).any()


def test_noise_does_not_come_from_numpys_generator(monkeypatch):
    """PCG64 can be predicted from what it gave; the words come from AES under a key of the operating system's."""
    keys = []
    real = dp.normal_chunks.__globals__["os"].urandom
    monkeypatch.setattr("app.federation.noise.os.urandom", lambda count: keys.append(count) or real(count))
    monkeypatch.delattr(np.random, "default_rng")
    privatise(np.zeros(10, np.float32), DpSettings(clip=1.0, noise_multiplier=2.0))
    assert keys == [32]


def test_a_noisy_update_lies_on_a_grid_and_has_the_required_spread():
    """Every value is a multiple of 2^-12 of the power of two below the noise, so its last bits tell nothing."""
    update = np.linspace(-1, 1, 400_000, dtype=np.float32)
    noisy = privatise(update, DpSettings(clip=3.0, noise_multiplier=0.5))
    grid = 2.0 ** (0 - 12)  # noise of 1.5
    assert np.array_equal(np.rint(noisy / grid) * grid, noisy)
    scaled = update.astype(np.float64) * 3.0 / np.linalg.norm(update.astype(np.float64))
    assert stats.kstest((noisy - scaled) / 1.5, "norm").pvalue > 1e-6


def test_epsilon_of_different_noises_composes():
    """Renyi accounting is an upper bound that lies a little above the exact value."""
    for counts in ({4.0: 3}, {4.0: 3, 8.0: 5}, {2.0: 1, 16.0: 40}):
        exact = exact_epsilon(counts)
        assert exact <= composed_epsilon(counts, 1e-5) <= 1.3 * exact
    assert composed_epsilon({}, 1e-5) == 0.0


def test_the_ledger_counts_over_runs_with_other_noise(tmp_path):
    first = PrivacyLedger(tmp_path, "a", DpSettings(clip=1.0, noise_multiplier=4.0))
    assert [first.spend() for _ in range(3)] == pytest.approx([composed_epsilon({4.0: n}, 1e-5) for n in (1, 2, 3)])
    later = PrivacyLedger(tmp_path, "a", DpSettings(clip=0.1, noise_multiplier=8.0))
    assert later.spend() == pytest.approx(composed_epsilon({4.0: 3, 8.0: 1}, 1e-5))
    assert (tmp_path / FILE).stat().st_mode & 0o077 == 0


def test_an_update_over_the_limit_does_not_leave(tmp_path):
    limit = float(composed_epsilon({4.0: 2}, 1e-5)) * 1.001
    ledger = PrivacyLedger(tmp_path, "a", DpSettings(clip=1.0, noise_multiplier=4.0, epsilon=limit))
    for _ in range(2):
        ledger.require()
        ledger.release(np.zeros(2, np.float32))
    before = (tmp_path / FILE).read_bytes()
    for refused in (ledger.require, ledger.spend, lambda: ledger.release(np.zeros(2, np.float32))):
        with pytest.raises(PrivacyBudgetError, match=r"^a: 2 updates have cost epsilon .* over privacy.dp.epsilon"):
            refused()
    assert (tmp_path / FILE).read_bytes() == before
    more_noise = PrivacyLedger(tmp_path, "a", DpSettings(clip=1.0, noise_multiplier=4000.0, epsilon=limit))
    more_noise.spend()  # the limit is on epsilon, not on the number of updates


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "{",
        "[]",
        '{"updates": 3}',
        '{"updates": [{"noise_multiplier": 4}]}',
        '{"updates": [{"noise_multiplier": 4.0, "count": 0}]}',
        '{"updates": [{"noise_multiplier": NaN, "count": 1}]}',
    ],
)
def test_a_damaged_ledger_lets_nothing_leave(tmp_path, damage):
    (tmp_path / FILE).write_text(damage)
    ledger = PrivacyLedger(tmp_path, "a", DpSettings(clip=1.0, noise_multiplier=4.0))
    for refused in (ledger.require, ledger.spend):
        with pytest.raises(PrivacyBudgetError, match=f"{FILE} in the node's state folder cannot be read"):
            refused()
    assert (tmp_path / FILE).read_text() == damage


def spend_often(folder):
    for _ in range(5):
        PrivacyLedger(folder, "a", DpSettings(clip=1.0, noise_multiplier=64.0)).spend()


def test_processes_that_spend_at_once_are_all_counted(tmp_path):
    with multiprocessing.get_context("fork").Pool(4) as pool:
        pool.map(spend_often, [tmp_path] * 4)
    assert json.loads((tmp_path / FILE).read_text())["updates"] == [{"noise_multiplier": 64.0, "count": 20}]


def counts_of(federation):
    files = (federation.folder.path / "nodes").glob(f"*/{FILE}")
    return {path.parent.name: json.loads(path.read_text())["updates"] for path in files}


@pytest.mark.slow
def test_a_run_with_noise_ends_with_finite_measures(make_federation):
    """README's line, on a tiny network."""
    changes = "privacy.dp.clip=1.0 privacy.dp.noise_multiplier=4 federation.batch_norm=local privacy=kahe"
    federation = make_federation(changes=changes).run()
    summary = federation.folder.read_summary()
    assert summary["rounds"] == 3
    assert summary["left_out"] == []
    assert np.isfinite(list(summary["measures"].values())).all()
    assert all(0 <= summary["measures"][f"global_{name}"] <= 1 for name in federation.settings.measures)
    assert exact_epsilon({4.0: 3}) <= summary["epsilon"] <= 1.3 * exact_epsilon({4.0: 3})
    assert counts_of(federation) == {name: [{"noise_multiplier": 4.0, "count": 3}] for name in ("client-0", "client-1")}


@pytest.mark.slow
def test_epsilon_counts_attempts_that_a_power_cut_took(make_federation):
    """The server dies twice before its first checkpoint, and each time begins under another run key: both updates of
    the first round had left. In all 2 + 2 updates a client, where two were counted."""
    federation = make_federation(changes=f"federation.rounds=2 {NOISY}")
    for run in (federation.run, federation.resume):
        with pytest.raises(PowerCutError):
            run(power_cut_at("train"))
    federation.resume()
    assert len(list((federation.folder.path / "nodes" / "client-0").glob("*/"))) == 3, "three run keys"
    counts = counts_of(federation)
    assert counts["client-0"] == [{"noise_multiplier": 8.0, "count": 4}]
    expected = composed_epsilon({8.0: 4}, 1e-5)
    assert federation.folder.read_summary()["epsilon"] == pytest.approx(expected)
    last = federation.lines()[-1] if "dp_epsilon" in str(federation.lines()[-1]) else federation.lines()[-2]
    assert last["clients"]["client-0"]["dp_epsilon"] == pytest.approx(expected)


@pytest.mark.slow
def test_a_second_run_at_the_same_nodes_adds_to_the_first(make_federation, tmp_path):
    """The server of the second run knows nothing of the first, the nodes do; their limit ends it."""
    nodes = [{"partition-id": i, "num-partitions": 2, "state-dir": str(tmp_path / f"node{i}")} for i in range(2)]
    make_federation("first", f"federation.rounds=2 {NOISY}", nodes).run()
    second = make_federation("second", f"federation.rounds=1 {NOISY}", nodes).run()
    expected = composed_epsilon({8.0: 3}, 1e-5)
    assert second.folder.read_summary()["epsilon"] == pytest.approx(expected)
    third = make_federation("third", f"federation.rounds=1 {NOISY} privacy.dp.epsilon={expected:.6f}", nodes)
    with pytest.raises(RuntimeError, match=r"below the quorum: client-0: .* over privacy\.dp\.epsilon"):
        third.run()


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ("privacy.dp.clip=1.0 privacy.dp.noise_multiplier=4", "federation.batch_norm=local"),
        ("privacy.dp.epsilon=1", "privacy.dp.epsilon needs privacy.dp.clip"),
        ("privacy.dp.epsilon=1 privacy.dp.clip=1 privacy.dp.noise_multiplier=0", "privacy.dp.epsilon needs"),
        ("privacy.dp.epsilon=-1", "privacy.dp.epsilon must be"),
    ],
)
def test_settings_that_protect_nobody_are_refused(overrides, said):
    with pytest.raises(SettingsError, match=said):
        load_settings(f"experiment=quickstart {overrides}")


def test_a_checkpoint_of_a_run_with_noise_on_statistics_still_opens():
    """It was possible before; what was learnt is there."""
    raw = load_settings(f"experiment=quickstart {NOISY}").as_dict()
    raw["federation"]["batch_norm"] = "shared"
    del raw["privacy"]["dp"]["epsilon"], raw["federation"]["max_share"]
    assert settings_from(raw).federation.batch_norm == "shared"
