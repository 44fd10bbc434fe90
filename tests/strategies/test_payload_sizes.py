"""Bytes of an encrypted value, up and down, and that the pages say so."""

from pathlib import Path

import numpy as np
import pytest
from encrypted_payloads import federation_key, relabelled

from strategies.ciphers.binding import Binding
from strategies.ciphers.packed_bfv import PackedBfvCipher, PackedBfvSum
from strategies.ciphers.seal_bfv import DEGREE


@pytest.mark.parametrize(("clients", "up", "down"), [(8, 2.3, 2.3), (9, 3.4, 6.8), (64, 3.4, 6.8)])
def test_the_pages_say_what_a_value_costs(clients, up, down):
    """Three values a slot of 54 bits are 54 / 8 / 3 = 2.25 bytes up and, with c1 from seeds, down: 64 bytes of seed a
    client for each 3 * 4,096 values are 0.04 more for eight. Beyond eight clients two values a slot, 3.375 bytes up,
    and both polynomials down, 6.75. Blocks' flags are 16 of 1,024 values or less."""
    size, names = 80 * 3 * DEGREE, [f"client-{index}" for index in range(clients)]
    binding = Binding("0" * 16, "layout", 1, 1, tuple(names))
    cipher = PackedBfvCipher(federation_key(), np.zeros(size, bool), client=names[0], max_clients=clients, bits=12)
    state = {"exponents": np.zeros(cipher.blocks.count, np.int16)}
    vector = np.zeros(size, np.float32)
    payload = cipher.encrypt(vector, 1 / clients, binding, state=state, carried={}).payload
    total = PackedBfvSum(cipher.parameters, binding, federation_key().key_id)
    for name in names if clients <= 8 else names[:2]:  # beyond, each one adds to both polynomials
        total.add(relabelled(payload, client=name), name)
    found = len(total.payload()) / size
    values = 3 if clients <= 8 else 2
    assert len(payload) / size == pytest.approx(54 / 8 / values, rel=0.03)
    seeds = clients * 64 / (values * DEGREE)
    assert found == pytest.approx(54 / 8 / values + seeds if clients <= 8 else 2 * 54 / 8 / values, rel=0.03)
    assert (round(len(payload) / size, 1), round(found, 1)) == (up, down)
    root = Path(__file__).parents[2]
    for page in ("README.md", "docs/deployment.md", "docs/threat-model.md", "app/settings/privacy.py"):
        text = (root / page).read_text(encoding="utf-8")
        assert "bytes a value" in " ".join(text.split())
        assert str(up) in text, page
        assert str(down) in text, page
