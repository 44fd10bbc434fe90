"""Keys and the cost of encryption from the command line; what runs without Flower and TenSEAL."""

import json
import subprocess
import sys

import pytest

from app.settings.checks import SettingsError
from scripts import federation
from scripts.bench import privacy
from strategies.ciphers.keys import KeyFileError, read_key

pytestmark = pytest.mark.slow


def run(capsys, *argv):
    """The lines that a command printed, the last one as an object."""
    federation.main([str(word) for word in argv])
    *lines, last = capsys.readouterr().out.splitlines()
    return lines, json.loads(last)


def test_a_key_is_created_once_and_rotated_on_demand(tmp_path, capsys):
    path = tmp_path / "keys" / "federation.key"
    lines, made = run(capsys, "keys", "--out", path.parent)
    assert path.stat().st_mode & 0o777 == 0o600
    first = read_key(path)
    assert made == {"key_id": first.key_id, "files": [str(path)], "put_aside": {}}
    assert f"key {first.key_id}" in lines[0]
    assert any(line.startswith(f"{path}: to every client") for line in lines)
    printed = "\n".join(lines)
    assert not any(secret.hex() in printed for secret in first.secrets.values())
    with pytest.raises(KeyFileError, match=r"federation\.key is there already"):
        federation.main(["keys", "--out", str(path.parent)])
    assert read_key(path) == first
    _, rotated = run(capsys, "keys", "--out", path.parent, "--rotate")
    aside = path.with_name(f"federation-{first.key_id}.key")
    assert rotated["put_aside"] == {"federation.key": str(aside)}
    assert read_key(aside) == first
    assert read_key(path).key_id == rotated["key_id"] != first.key_id


def test_keys_for_the_cloud_are_two_files_with_two_addressees(tmp_path, capsys):
    lines, made = run(capsys, "keys", "--out", tmp_path, "--cipher", "ckks", "--key-holder", "cloud")
    assert set(made["files"]) == {str(tmp_path / "federation.key"), str(tmp_path / "cloud.key")}
    assert any("cloud.key: to the server alone" in line for line in lines)
    clients, server = read_key(tmp_path / "federation.key"), read_key(tmp_path / "cloud.key")
    assert server.secrets["ckks"] not in clients.secrets.values()
    assert "seal" in clients.secrets


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (["keys", "--outt", "x"], "No such option"),
        (["keys", "--cipher", "rot13"], "rot13"),
        (["lock"], "No such command"),
    ],
)
def test_a_wrong_word_is_named(argv, reason):
    with pytest.raises(SettingsError, match=reason):
        federation.main(argv)


def test_the_cost_of_encryption_is_printed_line_by_line(capsys):
    privacy.main(["params=100000", "clients=3", "schemes=plain,kahe,ckks"])
    plain, kahe, approximate = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    keys = ["scheme", "params", "clients", "bytes_up_per_param", "bytes_down_per_param"]
    keys += ["encrypt_s", "add_s", "decrypt_s", "share_s", "peak_mb", "sum_peak_mb", "mean_relative_error"]
    assert list(plain) == list(kahe) == list(approximate) == keys
    assert (plain["scheme"], plain["params"], plain["clients"]) == ("plain", 100_000, 3)
    assert plain["bytes_up_per_param"] == pytest.approx(4, abs=0.01)
    # Nine ciphertexts of 27,648 bytes, and three shares of 8,192 with their proof; what is over 2.25
    # bytes a value is the last one's empty part.
    assert kahe["bytes_up_per_param"] == pytest.approx((9 * 27_648 + 3 * 8_192) / 100_000, abs=0.02)
    assert 1e-5 < kahe["mean_relative_error"] < 2e-3  # facts on quantisation: 5e-4 at 13 bits, with true scales
    assert kahe["share_s"] > 0 == plain["share_s"] == approximate["share_s"]
    with pytest.raises(SettingsError, match="unknown scheme 'rsa'"):
        privacy.main(["schemes=rsa"])


def test_trainer_tasks_and_baseline_need_neither_flower_nor_tenseal():
    code = (
        "import sys, app.tasks.dual, app.training.trainer, scripts.baseline, scripts.equalise;"
        "print([name for name in ('flwr', 'tenseal', 'ray', 'fastapi') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
