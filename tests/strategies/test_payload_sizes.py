"""Bytes of an encrypted value, up and down, and that the pages say so."""

from pathlib import Path

import pytest
from kahe_rounds import Round

from strategies.ciphers.kahe.ring import DEGREE


@pytest.mark.parametrize(("clients", "bits", "cost"), [(8, 54, 2.3), (9, 64, 2.7), (64, 64, 2.7)])
def test_the_pages_say_what_a_value_costs(clients, bits, cost):
    """Three values a coefficient: of 54 bits they are 54 / 8 / 3 = 2.25 bytes a value, up and down, and beyond eight
    clients, of 64 bits, 2.67. Shares and share sums are a fixed number of bytes. Blocks' flags are 16 of 1,024
    values or less."""
    size = 80 * 3 * DEGREE
    attempt = Round(2, size, clients, 12)
    total = attempt.added()
    shares = {name: len(data) for name, data in (("up", attempt.payload(0)), ("down", attempt.ask(total).payload()))}
    for found in shares.values():
        assert found / size == pytest.approx(bits / 8 / 3, rel=0.03)
        assert round(found / size, 1) == cost
    root = Path(__file__).parents[2]
    for page in ("README.md", "docs/deployment.md", "docs/threat-model.md", "app/settings/privacy.py"):
        text = (root / page).read_text(encoding="utf-8")
        assert "bytes a value" in " ".join(text.split())
        assert str(cost) in text, page
