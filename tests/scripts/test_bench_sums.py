"""Errors of encrypted sums over a run in the clear."""

import numpy as np
import pytest
from conftest import LocalFederation

from app.core.arrays import float_arrays, shared_layout
from app.core.run_folder import RunFolder
from app.settings.load import load_settings
from app.tasks import make_task
from scripts.bench.errors import BenchError
from scripts.bench.sums import Sums


def test_sums_follow_a_run_and_miss_it_by_what_rounding_leaves(base_overrides, tmp_path, monkeypatch):
    federation = LocalFederation(tmp_path / "run", base_overrides)
    sums = Sums(load_settings(f"{base_overrides} privacy=kahe"), federation.folder)

    append = RunFolder.append_metrics

    def appended(folder, metrics):
        append(folder, metrics)
        if line := folder.read_rounds()[-1:]:
            sums.set_aside(line[0])

    monkeypatch.setattr(RunFolder, "append_metrics", appended)
    federation.run()
    with pytest.raises(BenchError, match="client-0 trained anew before its update of round 1 was copied"):
        sums.set_aside(federation.folder.read_rounds()[0])
    sums.follow()
    assert not sums.aside.exists()
    network = make_task(federation.settings).build(2, federation.settings.seed)
    first = shared_layout(network, federation.settings.federation).flatten(float_arrays(network))
    last = next(iter(federation.held("global").values()))["vector"]
    change = last.astype(np.float64) - first
    np.testing.assert_allclose(sums.exact, change, rtol=0, atol=3 * 2.0**-23 * np.abs(last).max())  # float32 models
    figures = sums.figures()
    assert len(sums.rounds) == 3
    missed = np.linalg.norm(sums.found - change) / np.linalg.norm(change)
    assert figures["error_of_the_sum_of_all_rounds"] == pytest.approx(missed, rel=0.05)  # two digits
    assert 0 < figures["error_of_the_sum_of_15_rounds"] == figures["error_of_the_sum_of_all_rounds"]
    assert figures["largest_error_of_later_rounds"] < 0.02
    assert figures["bytes_up_per_value"] > 2
