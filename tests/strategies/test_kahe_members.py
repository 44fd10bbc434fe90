"""The share keys of a cohort, bound into everything of an attempt under the cipher `kahe`."""

import pytest
from encrypted_payloads import relabelled
from kahe_rounds import KEY, Round

from strategies.ciphers.cipher import CipherError
from strategies.ciphers.kahe.session import Session
from strategies.ciphers.kahe.tags import AlteredSumError

ONE, OTHER = "1" * 64, "2" * 64


def test_polynomials_tags_and_seals_depend_on_the_share_keys():
    contexts = [
        Session(round_[0].parameters, round_.binding, KEY.key_id) for round_ in (Round(3), Round(3, members=ONE))
    ]
    assert contexts[0].context != contexts[1].context
    assert contexts[0].polynomial_seed != contexts[1].polynomial_seed


def test_a_payload_bound_to_other_share_keys_is_not_added():
    total = Round(3, members=ONE).total()
    with pytest.raises(CipherError, match=f"members of the payload is '{OTHER}' instead of '{ONE}'"):
        total.add(Round(3, members=OTHER).payload(0), "client-00")
    assert total.clients == []


def test_any_client_opens_the_sum_and_none_under_other_share_keys():
    """Whoever opens a sum need not have been in its cohort, and knows its share keys from the header alone."""
    used = Round(3, members=ONE)
    payload = used.ask(used.added()).payload()
    for reader in (Round(3), Round(3, members=OTHER, attempt=2, nonce="another")):
        assert reader.opened(payload).clients == tuple(used.names)
    for members in (OTHER, ""):
        with pytest.raises(AlteredSumError):
            Round(3).opened(relabelled(payload, members=members))
    with pytest.raises(CipherError, match="with the share keys"):
        Round(3).opened(relabelled(payload, members=[ONE]))
