"""Embedding networks as ONNX files: written with PyTorch, computed by ONNX Runtime without the network in memory.

The file is an ordinary ONNX model with its weights inside. Its metadata hold `version` of this layout, `digest` of the
checkpoint, `settings` of the run (JSON) and their `settings_version`. The last entry, `sha256`, is of all bytes before
it: the fields of a protobuf message may be written one after the other, so that it is appended to a file that is
complete without it.
"""

import hashlib
import json
import warnings
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from app.core.errors import MissingPackageError, StoredFileError
from app.settings import upgrades
from app.settings.load import Settings
from app.tasks import make_task
from app.tasks.task import EmbeddingTask, Graph, embedding_task
from models.errors import MissingFileError

VERSION = "1"
_INSTALL = "is not installed: pip install 'fed-vehicle-reid[onnx]'"
# ModelProto.metadata_props (field 14) of 74 bytes: key (field 1) "sha256", value (field 2) of 64 hexadecimal digits.
_SEAL = b"\x72\x4a\x0a\x06sha256\x12\x40"
_SEAL_BYTES = len(_SEAL) + 64


class OnnxFile:
    """A network to be computed by ONNX Runtime, on the CPU.

    Attributes:
        digest: of the checkpoint it was made from.
        settings: of the run, as nested dictionaries.

    Raises FileNotFoundError, RuntimeError without ONNX Runtime, and ValueError for a file that was not written by
    `write_onnx`, was changed since, or is of another version."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise MissingFileError(f"no such file: {path}")
        _require_seal(path)
        runtime = needed("onnxruntime", "ONNX Runtime")
        options = runtime.SessionOptions()
        options.log_severity_level = 3  # errors
        # Threads that wait in a loop for the next image would take the processors from decoding.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors have no common base
            raise StoredFileError(f"ONNX Runtime {runtime.__version__} cannot load {path}: {error}") from error
        metadata = self._session.get_modelmeta().custom_metadata_map
        if metadata.get("version") != VERSION:
            raise StoredFileError(f"{path} has version {metadata.get('version')}, this program reads {VERSION}")
        self.digest: str = metadata["digest"]
        kept = json.loads(metadata["settings"])
        self.settings: dict[str, Any] = upgrades.RUN.upgraded(path, metadata.get(upgrades.KEY), kept)
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Outputs by name."""
        return dict(zip(self._outputs, self._session.run(self._outputs, dict(inputs)), strict=True))

    def network(self, settings: Settings) -> tuple[EmbeddingTask, nn.Module]:
        """The task and a network that embeds with it."""
        task = embedding_task(make_task(settings))
        return task, task.outside(self.run)


def write_onnx(path: Path, graph: Graph, digest: str, settings: Mapping[str, Any]) -> None:
    """Write a graph. Raises RuntimeError without the packages that this takes."""
    onnx = needed("onnx", "ONNX")
    needed("onnxscript", "ONNX Script")
    batch = torch.export.Dim("N", min=1)
    with warnings.catch_warnings(action="ignore"), torch.inference_mode():  # PyTorch's, about its own parts
        program = torch.onnx.export(
            graph.module,
            tuple(graph.inputs.values()),
            dynamo=True,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_shapes={name: {0: batch} for name in graph.inputs},
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    for node in model.graph.node:  # where in the sources it comes from: paths of this machine
        del node.metadata_props[:]
        node.doc_string = ""
    del model.metadata_props[:]
    about = {"version": VERSION, "digest": digest, "settings": json.dumps(settings, sort_keys=True)}
    onnx.helper.set_model_props(model, {**about, upgrades.KEY: str(upgrades.RUN.version)})
    data = model.SerializeToString()
    path.write_bytes(data + _SEAL + hashlib.sha256(data).hexdigest().encode())


def needed(module: str, name: str) -> Any:
    """A module of the extra `onnx`. Raises RuntimeError saying how to get it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingPackageError(f"{name} {_INSTALL}") from error


def _require_seal(path: Path) -> None:
    """Raise ValueError unless the file ends with the digest of what is before it."""
    with path.open("rb") as file:
        left = path.stat().st_size - _SEAL_BYTES
        digest = hashlib.sha256()
        while left > 0 and (chunk := file.read(min(left, 2**20))):
            digest.update(chunk)
            left -= len(chunk)
        seal = file.read()
    if not seal.startswith(_SEAL):
        raise StoredFileError(f"{path} was not written by scripts.export, or was cut off")
    if seal[len(_SEAL) :] != digest.hexdigest().encode():
        raise StoredFileError(f"damaged file {path}: its contents are not what was written")
