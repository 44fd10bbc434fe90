"""Cohorts and shares that a site's policy refuses, before anything is trained or sent."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from flwr.app import Message
from in_process_grid import InProcessGrid

from app import client_app
from app.federation.policy import Policy
from app.federation.refusals import PolicyError
from app.federation.site_policy import SitePolicy
from strategies import messages as m
from strategies.claims import capped

TEMPLATE = Path(client_app.__file__).parent / "deployment/templates/policy.toml"
RUN_KEY = "0123456789abcdef"


@pytest.mark.parametrize(
    ("cohort", "share", "key"),
    [
        (["north"], 1.0, "cohort.least"),
        (["north", "north"], 0.5, "cohort.least"),
        (["north", "north", "south"], 0.3, "cohort.least"),
        (["south", "west", "east"], 0.3, "cohort.least"),
        ([], 0.3, "cohort.least"),
        (["north", "south"], 0.5, "cohort.least"),
        (["north", "south", ""], 0.3, "cohort.least"),
        (["north", "south", "west"], 0.96, "cohort.largest_share"),
        (["north", "south", "west"], math.nan, "cohort.largest_share"),
        (["north", "south", "west"], 0.0, "cohort.largest_share"),
        (["north", "south", "west"], 1, "cohort.largest_share"),
    ],
)
def test_no_round_of_too_few_or_with_too_large_a_share(cohort, share, key):
    policy = SitePolicy("north", Path("p"), Policy(format=1, cohort={"least": 3}))
    policy.check_round(["north", "south", "west"], 0.9)
    policy.check_round(["north", "south", "west", "east"], None, ["north", "south", "west"])
    with pytest.raises(PolicyError, match=rf"\({key}\)"):
        policy.check_round(cohort, share)
    with pytest.raises(PolicyError, match=r"\(cohort\.least\)"):  # no share is summed for a sum of two
        policy.check_round(["north", "south", "west", "east"], None, ["north", "south"])


def test_two_sites_of_unequal_size_may_train_together():
    """2000 images and 150: 0.93 and 0.07, which no cap of the server changes."""
    policy = SitePolicy("north", Path("p"), Policy(format=1))
    policy.check_round(["north", "south"], capped([2000, 150], 0.5)[0] / 2150)
    for cohort, share in ((["north", "south"], 0.995), (["north", "south", "west"], 0.93)):
        with pytest.raises(PolicyError, match=r"\(cohort\.largest_share\)"):
            policy.check_round(cohort, share)


def test_a_run_tolerates_no_fewer_colluding_clients_than_a_third_of_the_others():
    """Under `kahe` with `privacy.colluding=0` six of ten open a sum, so that two that collude answer for two sets."""
    policy = SitePolicy("north", Path("p"), Policy(format=1))
    names = ["north", *(f"site-{index}" for index in range(9))]
    for colluding in (None, 3, 4):
        policy.check_round(names, 0.1, (), colluding)
    policy.check_round(names[:3], 0.3, (), 0)
    for cohort, colluding in ((names, 2), (names, 0), (names[:4], 0)):
        with pytest.raises(PolicyError, match=r"\(privacy\.colluding\)"):
            policy.check_round(cohort, 0.1, (), colluding)


def test_the_least_company_holds_for_sums_that_a_site_opens(policed_site, policed_run):
    assert policed_site(policed_run, ("least = 2", "least = 5")).models.least == 5
    assert policed_site(policed_run).models.least == 2


@pytest.mark.parametrize(
    ("colluding", "cohort", "share", "key"),
    [
        (None, ["north"], 0.5, "cohort.least"),
        (None, ["north", "south"], 0.995, "cohort.largest_share"),
        (0, ["north", "south", "west", "east"], 0.25, "privacy.colluding"),
    ],
)
def test_a_round_is_refused_before_training_and_nothing_is_sent(
    policed_site, policed_run, tmp_path, monkeypatch, colluding, cohort, share, key
):
    client = policed_site(f"{policed_run} privacy.max_clients=2")
    privacy = replace(client.settings.privacy, cipher="kahe", colluding=colluding)
    client.settings = replace(client.settings, privacy=privacy)
    monkeypatch.setattr(client_app, "_client_of", lambda *_: client)
    monkeypatch.setattr(client, "_train", lambda *_: pytest.fail("it trained"))
    grid = InProcessGrid(client_app.app, policed_run, [{}])
    config = {m.RUN_KEY: RUN_KEY, m.SERVER_ROUND: 1, m.COHORT: cohort, m.COEFFICIENT: share}
    grid.push_messages([Message(m.with_config(config), 1, "train", ttl=10.0)])
    reply = grid.received[-1]
    assert reply.has_error()
    assert f"refused by the site's policy ({key})" in reply.error.reason
    assert str(tmp_path) not in reply.error.reason
