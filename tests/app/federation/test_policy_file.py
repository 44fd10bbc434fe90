"""Bytes of a policy file that no editor would write, or that only some do."""

import pytest

from app.federation.policy import Policy, PolicyFileError, read_policy


def test_a_byte_order_mark_is_no_part_of_the_file(tmp_path):
    path = tmp_path / "policy.toml"
    path.write_bytes(b"\xef\xbb\xbfformat = 1\r\n")
    assert read_policy(path) == Policy(format=1)


@pytest.mark.parametrize("text", ["a = " + "[" * 5000, "format = " + "9" * 5000])
def test_what_the_toml_reader_fails_over_names_the_file(tmp_path, text):
    path = tmp_path / "policy.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PolicyFileError, match=rf"^policy file {path} is not TOML: "):
        read_policy(path)
