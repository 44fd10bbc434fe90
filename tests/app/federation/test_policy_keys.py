"""Every key of the settings is known to name a file or none, so that a policy misses no new one."""

import dataclasses
import typing
from importlib import import_module
from pathlib import Path

from app import client_app
from app.settings.file_keys import FILES
from app.settings.load import Settings
from app.settings.tasks import TASKS

TEMPLATE = Path(client_app.__file__).parent / "deployment/templates/policy.toml"
RUN_KEY = "0123456789abcdef"


# Keys of free text that name no file; a new key has to be put here, or among the files that a policy checks. A choice
# of given words (Literal) can name none.
NO_FILES = {
    *("name", "device", "task", "data.reader", "data.val_split", "data.eval_split", "data.made_plates.kinds"),
    *("data.equalise.library", "federation.authority", "federation.private", "privacy.key_id"),
    *("evaluation.central_overrides", "evaluation.stand_alone_overrides"),
    *("model.vehicle.sha256", "model.plate.sha256"),
}
SITES_OWN = {"data.root", "data.cache_dir", "data.equalise.folder"}
OF_THE_SERVER = {"run_dir", "privacy.cloud_key"}
CHECKED = {"model.backbone", "model.vehicle.backbone", "model.plate.backbone"}
PARTS = {"loss.classification", "loss.metric", "data.partition.by"}  # built in, or plug-ins that a policy lists
OPTIONS = {
    *("model.options", "model.vehicle.options", "model.plate.options"),
    *("loss.classification_options", "loss.metric_options"),
}


def test_every_key_of_the_settings_is_known_to_name_a_file_or_none():
    """Walks all sections of all tasks; a new text key fails here until somebody has thought about it."""
    found = set()

    def walk(cls, key):
        for name, hint in typing.get_type_hints(cls).items():
            parts = [hint, *typing.get_args(hint)]
            below = f"{key}{name}"
            inner = [part for part in parts if dataclasses.is_dataclass(part)]
            for part in inner:
                walk(part, f"{below}.")
            if not inner and (str in parts or typing.get_origin(hint) is dict or hint is typing.Any):
                found.add(below)

    walk(Settings, "")
    found -= {"model", "loss"}
    for modules in TASKS.values():
        walk(import_module(modules.settings).ModelSettings, "model.")
        walk(import_module(modules.settings).LossSettings, "loss.")
    files = {key for key in found if key in FILES or key.rsplit(".", 1)[-1] in FILES}
    assert found - files == NO_FILES | SITES_OWN | OF_THE_SERVER | CHECKED | PARTS | OPTIONS
