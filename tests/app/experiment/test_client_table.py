"""Figures by client against a second computation, as numbers, text and CSV."""

import csv
import statistics

import pytest

from app.experiment.client_table import client_curves, client_figures, client_text, write_client_csv

CHOICE = {"chosen": "tuned at 0.5, 1 of the way"}
MODELS = {
    "global": {"mAP": 0.6, "own": {"client-0": {"place": "ar", "mAP": 0.5}, "client-1": {"place": "cn", "mAP": 0.75}}},
    "stand_alone": {
        "mAP": 0.35,
        "clients": {
            "client-0": {"mAP": 0.3, "own": {"place": "ar", "mAP": 0.9}},
            "client-1": {"mAP": 0.4, "own": {"place": "cn"}},
            "client-2": {"error": "no images"},
        },
    },
    "personalised": {
        "mAP": 0.7,
        "clients": {
            "client-0": {"mAP": 0.7, "own": {"place": "ar", "mAP": 0.95}, "choice": CHOICE},
            "client-1": {"error": "none was made"},
        },
    },
    "central": {"mAP": 0.8},
}


def test_the_worst_client_and_the_spread_of_each_column():
    figures = client_figures(MODELS, "mAP")
    assert list(figures["clients"]) == ["client-0", "client-1"]
    assert figures["clients"]["client-0"] == {
        "place": "ar",
        "stand_alone": {"own": 0.9, "union": 0.3},
        "global": {"own": 0.5, "union": 0.6},
        "personalised": {"own": 0.95, "union": 0.7},
        "chosen": "tuned at 0.5, 1 of the way",
    }
    assert list(figures["columns"]) == [
        *("stand_alone own", "stand_alone union", "global own", "global union"),
        *("personalised own", "personalised union"),
    ]
    column = figures["columns"]["global own"]
    assert (column["worst"], column["lowest"], column["mean"]) == ("client-0", 0.5, 0.625)
    assert column["spread"] == pytest.approx(statistics.stdev([0.5, 0.75]))
    assert figures["columns"]["stand_alone own"]["spread"] == 0.0


def test_the_table_names_the_places_and_leaves_gaps(tmp_path):
    figures = client_figures(MODELS, "mAP")
    lines = client_text(figures).splitlines()
    assert lines[0] == "mAP by client:"
    assert lines[2].split()[:4] == ["client-0", "ar", "90.00", "30.00"]
    assert lines[3].split()[:4] == ["client-1", "cn", "-", "40.00"]
    assert lines[4].split()[:4] == ["worst", "client", "client-0", "client-0"]
    write_client_csv(figures, tmp_path / "clients.csv")
    with (tmp_path / "clients.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 9
    assert rows[-3] == {
        "client": "client-1", "place": "cn", "model": "stand_alone", "images": "union", "mAP": "0.4", "chosen": "",
    }  # fmt: skip
    assert {row["chosen"] for row in rows if row["model"] == "personalised"} == {CHOICE["chosen"]}


def test_a_split_without_sites_says_why_there_are_no_own_figures():
    models = {
        "global": {"mAP": 0.6, "own_reason": "no image of test belongs to one client"},
        "local": {"mAP": 0.5, "clients": {"client-0": {"mAP": 0.4}, "client-1": {"mAP": 0.6}}},
    }
    text = client_text(client_figures(models, "mAP"))
    assert text.splitlines()[-1] == "no figures of a client's own images: no image of test belongs to one client"
    assert " own" not in text.splitlines()[1]


def test_models_without_figures_by_client_have_no_table():
    assert client_figures({"global": {"mAP": 0.5}, "central": {"mAP": 0.6}}, "mAP") == {}


def test_curves_by_client_are_of_the_global_model_or_of_the_loss():
    def line(server_round, **rows):
        return {"server_round": server_round, "clients": rows}

    lines = [
        line(1, b={"loss_total": 3.0}, a={"loss_total": 2.0}),
        line(2, a={"loss_total": 1.0, "global_mAP": 0.4}),
    ]
    assert client_curves(lines, "mAP") == ({"a": [(1, 0.4)]}, "global mAP")
    assert client_curves(lines, "rank1") == ({"a": [(1, 2.0), (2, 1.0)], "b": [(1, 3.0)]}, "loss")
    assert client_curves([], "mAP") is None


def test_a_table_of_many_clients_shows_sixteen_and_counts_all(tmp_path):
    rows = {f"client-{number:04d}": {"mAP": number / 1024} for number in range(1024)}
    figures = client_figures({"local": {"mAP": 0.5, "clients": rows}}, "mAP")
    lines = client_text(figures).splitlines()
    shown = [line.split()[0] for line in lines if line.startswith("client-")]
    assert (len(shown), shown[0], shown[-1]) == (16, "client-0000", "client-1023")
    assert lines[-1] == "16 of 1,024 clients are shown, all of them count; clients.csv has each"
    assert figures["columns"]["local union"]["mean"] == pytest.approx(1023 / 2048)
    write_client_csv(figures, tmp_path / "clients.csv")
    assert len((tmp_path / "clients.csv").read_text().splitlines()) == 1025
