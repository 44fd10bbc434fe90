"""Packages that only an extra installs, and sessions of ONNX Runtime."""

from importlib import import_module
from pathlib import Path
from typing import Any

from app.core.errors import MissingPackageError, StoredFileError


def needed(module: str, name: str) -> Any:
    """A module of the extra `onnx`. Raises MissingPackageError saying how to get it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingPackageError(f"{name} is not installed: pip install 'fed-vehicle-reid[onnx]'") from error


def onnx_session(network: Path | bytes, name: str) -> Any:
    """A session of ONNX Runtime on the CPU.

    Args:
        network: a file, or its content, which can name no other file.
        name: for errors.

    Raises StoredFileError for a network that cannot be loaded, MissingPackageError without ONNX Runtime."""
    runtime = needed("onnxruntime", "ONNX Runtime")
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # fatal: others are raised
    # Threads that wait in a loop for the next image would take the processors from decoding.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return runtime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no common base
        reason = " ".join(str(error).split())[:200]
        raise StoredFileError(f"ONNX Runtime {runtime.__version__} cannot load {name}: {reason}") from error
