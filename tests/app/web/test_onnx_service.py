"""The service where ONNX Runtime computes the network."""

import pytest
from web_service import jpeg

from app.register.identification import Identification


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'register.sqlite'}"


@pytest.fixture
def identification(url, tmp_path, run_folder, onnx_path, monkeypatch):
    before = Identification(tmp_path / "register", url, "cpu")
    before.active_model.change_to_run(run_folder, "global", "tester")
    before.close()
    monkeypatch.setattr("app.training.checkpoint.Checkpoint.read", None)  # nothing reads the checkpoint any more
    identification = Identification(tmp_path / "register", url, "cpu", onnx_path)
    yield identification
    identification.close()


def test_the_service_answers_from_an_onnx_file(as_role):
    client = as_role("guard")
    answer = client.post("/api/identify", files=[("pictures", jpeg(2))]).json()
    assert (answer["decision"], answer["vehicle"], answer["decided_by"]) == ("match", 2, "vehicle")
    files = [("pictures", jpeg(1)), ("plate_pictures", jpeg(101))]
    answer = client.post("/api/identify", files=files).json()
    assert (answer["decision"], answer["vehicle"], answer["decided_by"]) == ("match", 1, "fused")
