"""Networks as ONNX files: written with PyTorch, computed by ONNX Runtime without the network in memory.

The file is an ordinary ONNX model with its weights inside. Its metadata hold `version` of this layout, `digest` of the
checkpoint, `settings` of the run or the detector (JSON), their `settings_version`, and `kind`, "detector" or "" for a
network of a run. The last entry, `sha256`, is of all bytes before it: the fields of a protobuf message may be written
one after the other, so that it is appended to a file that is complete without it.
"""

import hashlib
import io
import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from app.core.errors import StoredFileError
from app.core.packages import needed, onnx_session
from app.settings import upgrades
from app.settings.load import Settings
from app.tasks import make_task
from app.tasks.plate_text import PlateText
from app.tasks.task import Graph, Task, embedding_task
from models.errors import MissingFileError

VERSION = "1"
_KINDS = {"": "a run's network", "detector": "a detector"}
# ModelProto.metadata_props (field 14) of 74 bytes: key (field 1) "sha256", value (field 2) of 64 hexadecimal digits.
_SEAL = b"\x72\x4a\x0a\x06sha256\x12\x40"
_SEAL_BYTES = len(_SEAL) + 64


class SealedNetwork:
    """A network to be computed by ONNX Runtime, on the CPU.

    Args:
        content: of the file.
        name: for errors.

    Raises StoredFileError for content that was not written by `write_onnx`, was changed since, or is of another version
    or kind, MissingPackageError without ONNX Runtime."""

    kind = ""

    def __init__(self, content: bytes, name: str) -> None:
        _require_seal(content, name)
        self._session = onnx_session(content, name)
        metadata = self._session.get_modelmeta().custom_metadata_map
        if metadata.get("version") != VERSION:
            raise StoredFileError(f"{name} has version {metadata.get('version')}, this program reads {VERSION}")
        if (kind := metadata.get("kind", "")) != self.kind:
            raise StoredFileError(f"{name} is of {_KINDS.get(kind, 'another kind')}, not of {_KINDS[self.kind]}")
        self.digest: str = metadata["digest"]
        kept = json.loads(metadata["settings"])
        self.settings: dict[str, Any] = _steps(self.kind).upgraded(name, metadata.get(upgrades.KEY), kept)
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Outputs by name."""
        return dict(zip(self._outputs, self._session.run(self._outputs, dict(inputs)), strict=True))


class DetectorNetwork(SealedNetwork):
    """A detector; `settings` are a detector's."""

    kind = "detector"


class OnnxFile(SealedNetwork):
    """A network of a run.

    Attributes:
        digest: of the checkpoint it was made from.
        settings: of the run, as nested dictionaries.

    Raises FileNotFoundError, and the errors of `SealedNetwork`."""

    def __init__(self, path: Path) -> None:
        super().__init__(sealed_content(path), str(path))

    def network(self, settings: Settings) -> tuple[Task, nn.Module]:
        """The task and a network that embeds, or reads plates, with it. Raises ValueError for a task that does
        neither."""
        task = make_task(settings)
        if isinstance(task, PlateText):
            return task, task.outside(self.run)
        embedding = embedding_task(task)
        return embedding, embedding.outside(self.run)


def write_onnx(path: Path, graph: Graph, digest: str, settings: Mapping[str, Any], kind: str = "") -> None:
    """Write a graph. Raises MissingPackageError without the packages that this takes."""
    onnx = needed("onnx", "ONNX")
    needed("onnxscript", "ONNX Script")
    with warnings.catch_warnings(action="ignore"), torch.inference_mode():  # PyTorch's, about its own parts
        model = onnx.load_from_string(_traced(graph)) if graph.any_size else _exported(graph)
    for node in model.graph.node:  # where in the sources it comes from: paths of this machine
        del node.metadata_props[:]
        node.doc_string = ""
    del model.metadata_props[:]
    about = {"version": VERSION, "digest": digest, "settings": json.dumps(settings, sort_keys=True)}
    about |= {"kind": kind} if kind else {}
    onnx.helper.set_model_props(model, {**about, upgrades.KEY: str(_steps(kind).version)})
    data = model.SerializeToString()
    path.write_bytes(data + _SEAL + hashlib.sha256(data).hexdigest().encode())


def _steps(kind: str) -> upgrades.Steps:
    return upgrades.DETECTOR if kind else upgrades.RUN


def _exported(graph: Graph) -> Any:
    batch = torch.export.Dim("N", min=1)
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
    return program.model_proto


def _traced(graph: Graph) -> bytes:
    """A graph whose images may have other sides. The exporter of `_exported` takes minutes for these, not seconds."""
    content: Any = io.BytesIO()
    torch.onnx.export(
        graph.module,
        tuple(graph.inputs.values()),
        content,
        dynamo=False,
        input_names=list(graph.inputs),
        output_names=list(graph.outputs),
        dynamic_axes={name: {0: "N", 2: "H", 3: "W"} for name in graph.inputs},
        verbose=False,
    )
    return content.getvalue()


def sealed_content(path: Path) -> bytes:
    """The content of a file of `scripts.export`; of any other file the end alone is read.

    Raises MissingFileError, and StoredFileError for a file of another kind."""
    if not path.is_file():
        raise MissingFileError(f"no such file: {path}")
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _SEAL_BYTES))
        _require_sealed(file.read(), str(path))
        file.seek(0)
        return file.read()


def _require_sealed(end: bytes | memoryview, name: str) -> None:
    if len(end) < _SEAL_BYTES or end[: len(_SEAL)] != _SEAL:
        raise StoredFileError(f"{name} was not written by scripts.export, or was cut off")


def _require_seal(content: bytes, name: str) -> None:
    """Raise StoredFileError unless the content ends with the digest of what is before it."""
    view = memoryview(content)  # slices of it are no copies
    data, seal = view[:-_SEAL_BYTES], view[-_SEAL_BYTES:]
    _require_sealed(seal, name)
    if seal[len(_SEAL) :] != hashlib.sha256(data).hexdigest().encode():
        raise StoredFileError(f"damaged file {name}: its contents are not what was written")
