"""Files on disk after they were replaced."""

import errno
import os
import stat
from contextlib import nullcontext

import pytest

from app.core.files import replacing
from app.core.node_store import NodeStore
from app.federation.ledger import PrivacyLedger
from app.federation.opened_sums import OpenedSums
from app.settings.privacy import DpSettings


@pytest.fixture
def synced(monkeypatch):
    """Folders that were synced, with the names in them at that moment."""
    found, fsync = [], os.fsync

    def note(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            found.append(set(os.listdir(descriptor)))  # noqa: PTH208 - of an open folder
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    return found


def test_the_new_name_is_synced_after_it_took_its_place(tmp_path, synced):
    with replacing(tmp_path / "a") as temporary:
        temporary.write_text("whole", encoding="utf-8")
        assert synced == []
    assert synced == [{"a"}]
    with replacing(tmp_path / "b", sync=False) as temporary:
        temporary.write_text("can be made again", encoding="utf-8")
    assert synced == [{"a"}]


def test_what_is_noted_before_a_sum_is_opened_or_an_update_leaves_is_synced_by_name(tmp_path, synced):
    OpenedSums(tmp_path / "sums", "key", "0" * 16).admit(1, "digest")
    assert "opened_sums.json" in synced[-1]
    PrivacyLedger(tmp_path / "dp", "anna", DpSettings(clip=1.0, noise_multiplier=1.0)).spend()
    assert "privacy_ledger.json" in synced[-1]
    NodeStore(tmp_path / "node").write("global", 1, {}, {})
    assert synced[-1] == {"global-000001.safetensors"}


@pytest.mark.parametrize(("number", "kept"), [(errno.EINVAL, True), (errno.ENOTSUP, True), (errno.EIO, False)])
def test_a_file_system_that_syncs_no_folders_keeps_files_all_the_same(tmp_path, monkeypatch, number, kept):
    fsync = os.fsync

    def of_files(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", of_files)
    raised = nullcontext() if kept else pytest.raises(OSError, match=os.strerror(number))
    with raised, replacing(tmp_path / "a") as temporary:
        temporary.write_text("whole", encoding="utf-8")
    assert (tmp_path / "a").read_text(encoding="utf-8") == "whole"
