"""The ServerApp of docs/federation.md, as it stands there."""

import re
from pathlib import Path

from flwr.app import Context, RecordDict
from flwr.serverapp import ServerApp
from in_process_grid import InProcessGrid

from app import client_app, server_app
from app.core.run_dir import run_dir
from app.core.run_folder import RunFolder
from strategies.partial_sync import PartialSync

_PAGE = Path(__file__).parents[3] / "docs/federation.md"


def test_the_server_app_of_the_page_runs_a_strategy_of_ones_own(make_federation):
    federation, used = make_federation(changes="federation.rounds=1"), []

    class InTurn(PartialSync):
        def select_cohort(self, server_round, nodes):
            used.append(server_round)
            return super().select_cohort(server_round, nodes)

    (block,) = re.findall(r"```python\n(app = ServerApp.*?)```", _PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names = {"ServerApp": ServerApp, "RunFolder": RunFolder, "run_dir": run_dir, "InTurn": InTurn}
    names |= {"run_federation": server_app.run_federation, "load_settings": server_app.load_settings}
    exec(block, names)
    grid = InProcessGrid(client_app.app, federation.overrides, federation.node_configs)
    names["main"](grid, Context(1, 0, {}, RecordDict(), {"overrides": federation.overrides}))
    assert used == [1]
    assert federation.folder.read_summary()["rounds"] == 1
