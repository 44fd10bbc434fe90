"""The service where ONNX Runtime computes the network."""

import pytest
from web_service import jpeg

from app.register.identification import Desk


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'register.sqlite'}"


@pytest.fixture
def desk(url, tmp_path, run_folder, onnx_path, monkeypatch):
    before = Desk(tmp_path / "register", url, "cpu")
    before.use_model(run_folder, "global", "tester")
    before.close()
    monkeypatch.setattr("app.training.checkpoint.Checkpoint.read", None)  # nothing reads the checkpoint any more
    desk = Desk(tmp_path / "register", url, "cpu", onnx_path)
    yield desk
    desk.close()


def test_the_service_answers_from_an_onnx_file(as_role):
    client = as_role("guard")
    answer = client.post("/api/identify", files=[("pictures", jpeg(2))]).json()
    assert (answer["decision"], answer["vehicle"], answer["decided_by"]) == ("match", 2, "vehicle")
    files = [("pictures", jpeg(1)), ("plate_pictures", jpeg(101))]
    answer = client.post("/api/identify", files=files).json()
    assert (answer["decision"], answer["vehicle"], answer["decided_by"]) == ("match", 1, "fused")
