"""One rule for names of clients: for the server that reads them, and for the site that gives its own."""

import pytest

from app.federation.open_client import NodeConfigError, open_client
from strategies.client_names import name_fault
from strategies.nodes import RefusedError, read_node
from strategies.rounds import THE_SUM

WRONG = {
    "": "has 0 characters",
    "x" * 101: "has 101 characters",
    THE_SUM: "holds more than letters",
    "node 7": "holds more than letters",
    "north\n": "holds more than letters",
    "\x1b[2Jnorth": "holds more than letters",
    "no\u202eth": "holds more than letters",
    "no\u00adrth": "holds more than letters",  # a soft hyphen
    "no\u3164rth": "holds more than letters",  # a letter that no font draws
    "no\u200drth": "holds more than letters",
    "the\u00a0sum": "holds more than letters",
    "the\u2003sum": "holds more than letters",
    "../north": "holds more than letters",
    ".": "holds more than letters",
    "-north": "holds more than letters",
    "a/b": "holds more than letters",
    "\uff4eorth": "form that looks like another",  # full-width n
    "n\u043erth": "mixes letters of Latin and Cyrillic, which look alike; use one",
}


@pytest.mark.parametrize(("name", "fault"), WRONG.items())
def test_names_that_no_client_has(name, fault):
    assert fault in name_fault(name)


@pytest.mark.parametrize("name", ["north", "client-0", "Garage_2", "a.b", "7", "Süd", "север", "北", "उत्तर", "x" * 100])
def test_names_that_clients_have(name):
    assert name_fault(name) == ""


@pytest.mark.parametrize("name", WRONG)
def test_the_server_and_the_site_go_by_it(name):
    info = {"client": name, "task": "t", "layout": "l", "key-id": "", "num-examples": 1}
    with pytest.raises(RefusedError, match=r"^client is '") as refused:
        read_node(7, {**info, "held-rounds": [], "held-digests": []}, task="t", layout="l", key_id="")
    with pytest.raises(NodeConfigError, match=r"^client='.* in the node config ") as unusable:
        open_client("", {"client": name}, "0" * 16, 1)
    for error in (refused.value, unusable.value):
        assert str(error).isprintable()
        assert name_fault(name) in str(error)
