"""Three sites, three rounds on loopback: TLS, node authentication, encryption, a process for each message."""

import contextlib
import json

import numpy as np
import psutil
from app_bundles import foreign_project
from conftest import NETWORK, TRAINING, LocalFederation, write_set
from federation_checks import divide, rounds_in

from app.core.node_store import NodeStore
from app.core.versions import installed
from app.deployment.parties import parties_of
from app.deployment.remote_status import _flower, remote_status
from app.deployment.verify import problems
from scripts.bench.loopback import Loopback
from strategies.ciphers.keys import read_key

OVERRIDES = (
    f"experiment=quickstart data=manifest data.val_split=val {NETWORK} {TRAINING} "
    "federation.rounds=3 federation.measure_every=1 "
    "federation.deadline=200 train.epochs=3 evaluation.ranked_lists=0 evaluation.compare=[] "
    "federation.server_optimiser.name=average federation.server_optimiser.nesterov=false"
)


def forked(real, name):
    """Whether a fork of the site's warm process is at work."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return any("app.deployment.fork_server" in process.cmdline() for process in real.client_processes(name))


def newest_of(real, project):
    """Flower's number of the newest run of a project; foreign apps ran before and after."""
    runs = json.loads(_flower(real.root / "operator", "list", "--format", "json"))["runs"]
    return max((run for run in runs if run["fab-name"] == project), key=lambda run: run["pending-at"])["run-id"]


def refused_everywhere(real, project, name):
    """An app that nobody approved, started by anybody with `ca.crt`: each site refuses it, and the run gets the
    refusals."""
    real.start_app(project, name)
    real.wait_for(lambda: "foreign app has ended" in real.log(name), "the foreign app to end", 400)
    told = [line for line in real.log(name).splitlines() if "foreign app was told" in line]
    assert len(told) == len(real.sites), told
    assert all("is not approved at this site and was not run" in line for line in told), told
    for site in real.sites:
        assert f"does not list it. It lists: {real.approved}" in real.log(site)


def test_three_sites_reach_the_model_of_the_simulation(tmp_path):
    """The same images, dealt by site in one process, with the same seed: equal to the last bit. Rounding is random
    from client and round, and sums are exact, so that keys and ciphertexts make no difference. Before and after, a
    foreign app asks the sites for their keys: from Flower's own process for a message, and from a fork. The sites
    take each other's share keys from the authority's statements alone."""
    pictures = write_set(tmp_path / "set", vehicles={"a": 5, "b": 3, "c": 4})
    sites = {f"client-{i}": part for i, part in enumerate(divide(pictures, tmp_path / "parts").values())}
    nodes = [{"partition-id": i, "num-partitions": 3} for i in range(3)]
    words = f"{OVERRIDES} data.root={pictures} data.partition.by=site federation.num_clients=3"
    simulated = LocalFederation(tmp_path / "simulated", words, nodes).run()

    (tmp_path / "real").mkdir()
    with Loopback(tmp_path / "real", sites) as real:
        real.start_all()
        marker = tmp_path / "marker"
        foreign = foreign_project(tmp_path / "foreign", marker, len(sites))
        refused_everywhere(real, foreign, "foreign-first")
        folder, process = real.run(tmp_path / "real" / "run", OVERRIDES)
        real.wait_for(lambda: forked(real, "client-0"), "a client process that imports nothing", 300)
        process.wait(timeout=600)
        assert f"SHA-256 {real.approved}" in real.log("run-run")
        refused_everywhere(real, foreign, "foreign-last")
        assert not marker.exists()
        assert rounds_in(folder) == [1, 2, 3, 4], real.last_words()
        kept = json.loads((folder.path / "site_versions.json").read_text())
        assert kept == dict.fromkeys(sites, installed())
        seen = remote_status(real.root / "operator", newest_of(real, "fed-vehicle-reid"))
        assert (seen["state"], seen["round"], seen["rounds"]) == ("finished:completed", 3, 3)
        assert seen["line"].startswith("final model:")
        assert remote_status(real.site("client-0"))["round"] == 3
        summary = folder.read_summary()
        assert summary["left_out"] == []
        expected = simulated.held("global")
        for name in sites:
            node = real.site(name) / "state" / "node"
            store = NodeStore(node / folder.load_arrays("server")[1]["run_key"])
            assert store.rounds("global")[-1] == 3
            ours = store.read("global", 3)[0]
            assert ours.keys() == expected[name].keys()
            for array in ours:
                np.testing.assert_array_equal(ours[array], expected[name][array], err_msg=f"{name} {array}")
            assert list((node / "pictures").iterdir())
        for party in parties_of(real.root):
            assert problems(party) == []
        secrets = read_key(real.root / "authority" / "federation.key").secrets.values()
        for path in [*(real.root / "server").rglob("*"), *folder.path.rglob("*"), *real.folder.glob("*.log")]:
            if path.is_file():
                assert not any(secret in path.read_bytes() for secret in secrets), path
