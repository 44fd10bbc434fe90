"""Runs before and after a rotation that reaches running parties by archives alone; the server decrypts the sums."""

import shutil

import pytest
from conftest import NETWORK, TRAINING, write_set
from federation_checks import divide, rounds_in

from app.deployment.parties import parties_of, read_party
from app.deployment.verify import problems
from scripts import federation
from scripts.bench.loopback import Loopback
from strategies.ciphers.keys import read_key

pytestmark = pytest.mark.slow

OVERRIDES = (
    f"experiment=quickstart data=manifest data.val_split=val {NETWORK} {TRAINING} federation.rounds=1 "
    "federation.measure_every=1 federation.deadline=200 train.epochs=1 evaluation.ranked_lists=0 evaluation.compare=[]"
)


def run_to_its_end(real, name):
    """With the key at the place of this trial: `run.sh` names that of an installation."""
    words = f"{OVERRIDES} privacy.cloud_key={real.root / 'server/cloud.key'}"
    folder, process = real.run(real.folder / name, words)
    process.wait(timeout=600)
    assert rounds_in(folder) == [1, 2], real.last_words()
    assert folder.read_summary()["left_out"] == []
    return (folder.path / "settings.json").read_text()


def test_runs_with_the_old_key_and_with_the_new_one(tmp_path):
    pictures = write_set(tmp_path / "set", vehicles={"a": 5, "b": 4})
    sites = dict(zip(("north", "south"), divide(pictures, tmp_path / "parts").values(), strict=True))
    (tmp_path / "real").mkdir()
    with Loopback(tmp_path / "real", sites, ["--cipher", "ckks", "--key-holder", "cloud"]) as real:
        authority = shutil.copytree(real.root, tmp_path / "authority")
        shutil.rmtree(real.root / "authority")
        first = read_party(real.site("north")).key_id
        real.start_all()
        settings = run_to_its_end(real, "first")
        assert first in settings
        assert '"key_holder": "cloud"' in settings
        federation.main(["rotate", str(authority)])
        for folder in parties_of(real.root):
            archive = authority / f"updates/{read_party(folder).name}.tar"
            federation.main(["apply", str(archive), "--folder", str(folder)])
            assert problems(folder) == []
        second = read_key(real.site("south") / "federation.key").key_id
        assert second != first
        assert second in run_to_its_end(real, "second")
