"""Bench of queries to a large register."""

import json

from scripts.bench import register


def test_a_register_is_filled_searched_and_found_again(tmp_path, capsys):
    for _ in range(2):
        register.main(["vehicles=40", "views=2", "dim=8", f"folder={tmp_path}"])
        figures = json.loads(capsys.readouterr().out)
        assert (figures["vehicles"], figures["views"], figures["dim"]) == (40, 80, 8)
        assert 0 < figures["look_up_ms"] <= figures["slowest_ms"]
