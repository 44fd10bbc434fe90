"""Numbers that sites get: no two live sites share one, whatever was added and removed before."""

import json
import re
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.deployment.parties import DeploymentError
from app.deployment.ports import assign_port
from app.deployment.setup import add_site, make_federation, remove_site, sites_of
from app.deployment.verify import problems


def port(root, site):
    [found] = re.findall(r"^RUNTIME_PORT=(\d+)$", (root / f"sites/{site}/site.env").read_text(), re.MULTILINE)
    return int(found)


def test_a_site_that_comes_after_one_has_left_gets_a_number_of_its_own(root):
    add_site(root, "west")
    assert [port(root, site) for site in ("north", "south", "west")] == [9094, 9095, 9096]
    remove_site(root, "south")
    add_site(root, "east")  # was 9096, as there were two sites
    assert port(root, "east") == 9097
    remove_site(root, "east")
    add_site(root, "east")  # the same name again: the one that left may still be running
    add_site(root, "south")
    assert [port(root, site) for site in ("north", "west", "east", "south")] == [9094, 9096, 9098, 9099]
    assert all(problems(root / "sites" / site) == [] for site in sites_of(root))
    assert problems(root / "authority") == []


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.booleans()), max_size=14))
@settings(max_examples=25, deadline=None)
def test_no_number_is_handed_out_twice(tmp_path_factory, changes):
    """Against a plain set of all numbers ever given; folders are handed over at random."""
    root = tmp_path_factory.mktemp("ports")
    (root / "authority").mkdir()
    (root / "operator/sites").mkdir(parents=True)
    given_out, live = set(), set()
    for site, keep in changes:
        if site in live:
            live.discard(site)
            (root / f"operator/sites/{site}.pub").unlink()
            shutil.rmtree(root / "sites" / site, ignore_errors=True)
            continue
        number = assign_port(root, site, taken=9095)
        assert number not in given_out
        assert number != 9095
        given_out.add(number)
        live.add(site)
        (root / f"operator/sites/{site}.pub").touch()
        if keep:
            (root / "sites" / site).mkdir(parents=True)
            (root / "sites" / site / "site.env").write_text(f"RUNTIME_PORT={number}\n")


def test_numbers_that_others_have_are_left_out(root, plan, first_key, tmp_path):
    """The server's own, what a site's owner wrote, and what sites of an older federation may have."""
    other = tmp_path / "other"
    make_federation(plan(port=9095), other, first_key)
    assert [port(other, site) for site in ("north", "south")] == [9094, 9096]
    env = root / "sites/south/site.env"
    env.write_text(env.read_text().replace("RUNTIME_PORT=9095", "RUNTIME_PORT='9096' # ours"))
    add_site(root, "west")
    assert port(root, "west") == 9097
    (root / "authority/ports.json").unlink()  # of a federation older than this file
    add_site(root, "east")
    assert port(root, "east") == 9095  # free, as south was given another one
    (root / "authority/ports.json").unlink()
    shutil.rmtree(root / "sites/north")  # handed over: nobody here knows its number
    add_site(root, "centre")
    assert port(root, "centre") == 9097 + 100
    (root / "authority/ports.json").write_text("[]")
    with pytest.raises(DeploymentError, match=r"ports\.json is damaged"):
        add_site(root, "more")
    (root / "authority/ports.json").write_text(json.dumps({"x": 65535}))
    with pytest.raises(DeploymentError, match="no port is left"):
        add_site(root, "more")
    assert "more" not in sites_of(root)
    assert not (root / "sites/more").exists(), "half a folder would be in the way of the next try"


@pytest.mark.parametrize("name", ["North", "NORTH", "Ä", "north ", "../north", "", "a" * 32, "n.o"])
def test_names_that_differ_by_case_or_more_are_refused(root, name):
    with pytest.raises(DeploymentError, match="lower-case letters"):
        add_site(root, name)
    assert sites_of(root) == ["north", "south"]
