"""The benchmark of the search on a small register."""

import json

from scripts.bench import search


def test_every_kind_of_search_is_measured(capsys):
    search.main(["vehicles=300"])
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (figures["bench"], figures["vehicles"]) == ("search", 300)
    kinds = ("plate", "part", "many", "wildcards", "similar", "owner", "words", "flat", "number", "guard", "slowest")
    assert all(figures[f"{name}_ms"] > 0 for name in kinds)
