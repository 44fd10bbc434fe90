"""Devices: those that networks train on here, and one line for every other name."""

import pytest
import torch

from app.core import device
from app.core.device import make_compute
from app.settings.checks import SettingsError


@pytest.mark.parametrize(
    "name", ["meta", "hpu", "xla", "xpu", "vulkan", "cpu:7", "cpu:0", "cuda:", "cuda:-1", "cuda:٣", "CPU", "", " cpu"]
)
def test_a_device_that_nothing_is_trained_on_is_refused(name):
    with pytest.raises(
        SettingsError, match=r"^device must be auto, cpu, .*; device=auto takes the best available$"
    ) as error:
        make_compute(name, "auto", True, 0)
    assert repr(name) in str(error.value)


@pytest.mark.parametrize(("there", "name"), [(0, "cuda"), (0, "cuda:0"), (2, "cuda:2"), (2, "cuda:99"), (0, "mps")])
def test_a_device_that_is_not_there_is_named(monkeypatch, there, name):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: there)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(SettingsError, match=rf"^device={name}: .*device=auto takes the best available$"):
        make_compute(name, "float32", True, 0)


def test_devices_that_are_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    names = ["auto", "cpu", "cuda", "cuda:1", "mps"]
    found = [str(make_compute(name, "float32", True, 0).device) for name in names]
    assert found == ["cuda", "cpu", "cuda", "cuda:1", "mps"]


@pytest.mark.parametrize(("own", "asked", "usable", "then"), [(2, 0, 1, 1), (2, 0, 8, 2), (1, 0, 8, 1), (1, 2, 1, 2)])
def test_threads_are_no_more_than_the_process_has_cpus_for(monkeypatch, own, asked, usable, then):
    before = torch.get_num_threads()
    monkeypatch.setattr(device, "usable_cpus", lambda: usable)
    try:
        torch.set_num_threads(own)
        make_compute("cpu", "float32", True, asked)
        assert torch.get_num_threads() == then
    finally:
        torch.set_num_threads(before)
