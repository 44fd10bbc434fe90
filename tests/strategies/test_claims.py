"""Claims of clients: images, measures and numbers of nodes, and how far one lie reaches."""

import json
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from fake_clients import CLOSE, START, average, three
from flwr.app import ConfigRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from strategies import messages as m
from strategies.claims import CAPPED_FROM, MAX_EXAMPLES, capped, checked_measures, largest_share, typical
from strategies.messages import MessageError
from strategies.rounds import Convergence, FederationError

LOUD = "no\n\x1b[2Jround 9/9, all is well " + "x" * 10**6
SHARES = st.integers(1, 20).map(lambda twentieth: twentieth / 20)


def poured(examples, limit):
    """Shares by pouring, in fractions: what a client has beyond the limit goes to those below it, by their claims,
    until nobody is beyond."""
    limit, total = Fraction(limit), sum(examples)
    shares = [Fraction(count, total) for count in examples]
    full = [False] * len(examples)
    while any(share > limit for share in shares):
        full = [was or share > limit for was, share in zip(full, shares, strict=True)]
        left = 1 - limit * sum(full)
        below = sum(count for count, stop in zip(examples, full, strict=True) if not stop)
        shares = [limit if stop else Fraction(count, below) * left for count, stop in zip(examples, full, strict=True)]
    return shares


@given(st.lists(st.integers(1, MAX_EXAMPLES), min_size=1, max_size=8), SHARES)
def test_capped_shares_are_what_pouring_gives(examples, max_share):
    counts = capped(examples, max_share)
    shares = np.array(counts) / sum(counts)
    limit = largest_share(max_share, len(examples))
    assert sum(shares) == pytest.approx(1.0)
    assert max(shares) <= limit * (1 + 1e-9)
    if limit * len(examples) > 1 + 1e-9:  # else everybody has the same
        np.testing.assert_allclose(shares, [float(share) for share in poured(examples, limit)], rtol=1e-9)
    else:
        np.testing.assert_allclose(shares, np.full(len(examples), 1 / len(examples)))


def test_claims_within_the_limit_count_as_they_are():
    assert capped([62, 680, 225, 504, 940], 0.5) == [62, 680, 225, 504, 940]
    assert capped([20, 12], 0.5) == [20, 12], "of two clients neither is capped"
    assert capped([10**8, 3, 5], 1.0) == [10**8, 3, 5]


def test_a_claim_of_any_size_gets_the_limit_and_no_more():
    """c = 0.5 (c + 40) is 40."""
    assert capped([30, MAX_EXAMPLES, 10], 0.5) == [30, 40, 10]
    assert largest_share(0.5, CAPPED_FROM - 1) == 1.0
    assert largest_share(0.1, 4) == 0.25


def test_a_liar_has_half_of_the_sum_at_most():
    federation = three(rounds=2, max_share=0.5)
    federation.clients["a"].examples = MAX_EXAMPLES
    federation.run()
    shares = {name: client.trained[0][1] for name, client in federation.clients.items()}
    assert shares == pytest.approx({"a": 0.5, "b": 0.5 * 30 / 90, "c": 0.5 * 60 / 90})
    np.testing.assert_allclose(federation.mean(1), average(federation, weights=[90, 30, 60]), **CLOSE)
    # The means of the measures are not the liar's either: losses are the claims here.
    losses = federation.reports[0].measures["loss_total"]
    assert losses == pytest.approx((90 * MAX_EXAMPLES + 30 * 30 + 60 * 60) / 180)


@pytest.mark.parametrize("claim", [MAX_EXAMPLES + 1, 10**9, 0, -5, True, 1.5, float("nan"), "9" * 5000, [10]])
def test_a_claim_that_is_no_number_of_images_is_refused(claim):
    federation = three(rounds=1)
    federation.clients["b"].info = {m.NUM_EXAMPLES: claim}
    federation.run()
    assert list(federation.reports[0].clients) == ["a", "c"]
    (reason,) = {row["reason"] for row in federation.reports[0].left_out}
    assert reason.startswith("refused: num-examples is")
    assert len(reason) < 250


@pytest.mark.parametrize(
    "info",
    [
        {m.CLIENT: "x" * 101},
        {m.CLIENT: "b\x1b[2J"},
        {m.HELD_ROUNDS: list(range(17)), m.HELD_DIGESTS: ["x"] * 17},
    ],
)
def test_descriptions_are_bounded(info):
    federation = three(rounds=1)
    federation.clients["b"].info = info
    federation.run()
    assert list(federation.reports[0].clients) == ["a", "c"]


def test_a_real_node_does_not_say_how_many_there_are():
    """One of nine that claims to be all of them would start, and end, the run alone."""
    federation = three(rounds=1)
    federation.rules = replace(federation.rules, num_clients=9)
    for client in federation.clients.values():
        client.info = {m.NUM_NODES: 1}
    with pytest.raises(FederationError, match="3 of 9 nodes after the start timeout"):
        federation.run()


GOOD = {
    "global_mAP": 0.5,
    "global_vehicle_mAP": 1.0,
    "global_rerank_rank1": 0.0,
    "global_rank10": 0.25,
    "global_queries": 120,
    "global_skipped": 0.0,
    "global_accuracy_90": 0.9,
    "global_character_error_rate": 1.7,
    "loss_total": -0.25,
    "loss_vehicle_classification": 4.5,
    "seconds_encrypt": 0.5,
    "pictures": 40,
    "steps": 2,
    "bad_pictures": 0,
    "lr": 1e-3,
    "dp_epsilon": 6.54,
}


def test_good_measures_are_taken():
    assert checked_measures(GOOD) == GOOD
    assert checked_measures({"global_sharpness": 0.5}, ["sharpness"]) == {"global_sharpness": 0.5}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("global_mAP", 1.0001),
        ("global_mAP", -0.1),
        ("global_fused_rank5", 57.0),
        ("global_mINP", float("nan")),
        ("global_queries", -1),
        ("global_sharpness", 0.5),
        ("global_KA51AB1234_mAP", 0.5),
        ("loss_total", float("inf")),
        ("loss_total", 1e300),
        ("loss_total", [0.5, 0.5]),
        ("loss_KA51AB1234.jpg", 0.5),
        ("seconds_total", -1.0),
        ("steps", -3),
        ("lr", float("nan")),
        ("local_mAP", 0.5),
        ("mAP", 0.5),
        ("loss_" + "x" * 100, 0.5),
        ("global_mAP\n", 0.5),
    ],
)
def test_a_reply_with_another_measure_is_refused_by_name_and_adds_nothing(name, value):
    with pytest.raises(MessageError, match="measure") as raised:
        checked_measures({name: value})
    assert name[:60].replace("\n", "\\n") in str(raised.value)
    federation = three(rounds=1)
    federation.clients["b"].measures = {name: value}
    report = federation.run()[1]
    assert list(federation.reports[0].clients) == list(report.clients) == ["a", "c"]
    assert federation.left_out(1)["b"] == str(raised.value)
    np.testing.assert_allclose(federation.mean(1), average(federation, "ac"), **CLOSE)
    json.dumps(report.measures, allow_nan=False)


def test_too_many_measures_are_refused():
    with pytest.raises(MessageError, match="65 measures, at most 64"):
        checked_measures({f"loss_{number}": 0.0 for number in range(65)})


@pytest.mark.parametrize("lie", [0.0, 1.0, lambda number: number / 100, lambda number: number % 2])
def test_one_liar_neither_stops_nor_prolongs_a_run(lie):
    """Honest clients gain for six measured rounds and then no more: the run ends after two further ones, whatever the
    third says of itself and however many images it claims."""
    federation = three(rounds=30, max_share=0.5)
    for name, client in federation.clients.items():
        client.examples = MAX_EXAMPLES if name == "a" else 10
    steps = dict.fromkeys("abc", 0)

    def measured(name, client):
        answer = client.answer

        def told(message):
            if message.metadata.message_type == "train":
                number = message.content[m.CONFIG][m.SERVER_ROUND]
                honest = 0.1 * min(number, 6)
                value = (lie(number) if callable(lie) else lie) if name == "a" else honest
                client.measures = {"global_mAP": float(value)}
                steps[name] = number
            return answer(message)

        return told

    for name, client in federation.clients.items():
        client.answer = measured(name, client)
    federation.run(replace(START, convergence=Convergence(2, 0.001)))
    assert steps["b"] == 8, "the best was measured in round 6"


def test_the_typical_value_lies_between_honest_ones():
    assert typical([0.2, 0.3, 1.0]) == 0.3
    assert typical([0.2, 0.4]) == pytest.approx(0.3)
    assert typical([0.7]) == 0.7


def test_reasons_that_clients_word_are_bounded_and_obeyed_by_no_terminal():
    federation = three(rounds=1)
    federation.clients["b"].faults = {1: lambda _: RecordDict({m.INFO: ConfigRecord({m.UNUSABLE_SUM: LOUD})})}
    federation.run()
    reason = federation.left_out(1)["b"]
    assert reason == LOUD.replace("\x1b", " ").replace("\n", " ")[:2000]
