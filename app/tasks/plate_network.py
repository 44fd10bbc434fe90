"""Network of a plate reader, with new values or those of a checkpoint to start from."""

from safetensors import SafetensorError
from safetensors.numpy import load_file

from app.core.arrays import float_views, load_arrays
from app.core.errors import StoredFileError
from app.core.outputs import is_file
from app.settings.checks import NamedFileError, SettingsError
from app.settings.load import absolute
from app.settings.plate_text import ModelSettings
from app.tasks.networks import make_backbone, require_size
from app.tasks.packaged_plate_reader import packaged_values
from models.columns import keep_columns
from models.errors import NetworkError
from models.hashed import hash_layers, is_bucket
from models.input_statistics import input_statistics
from models.plate_reader import PlateReader

_PACKAGED = "packaged"


def columns_of(model: ModelSettings) -> int:
    """Columns of the cells in which the network looks for characters."""
    return -(-model.width // model.stride)


def make_plate_reader(model: ModelSettings, num_characters: int, *, pretrained: bool) -> PlateReader:
    """The network; with `pretrained` its values are those of `model.weights` or `model.start`, where they are given.

    Raises SettingsError for what cannot be built, NamedFileError for a file of weights."""
    backbone = make_backbone("model", model.backbone, model.weights if pretrained else False, model.options)
    try:
        keep_columns(backbone, model.stride)
    except NetworkError as error:
        raise SettingsError(f"model.backbone: {error}") from error
    require_size("model", model.backbone, backbone, height=model.height, width=model.width)
    network = PlateReader(
        backbone,
        backbone.num_features,  # type: ignore[arg-type]
        num_characters,
        input_statistics(backbone),
        columns=columns_of(model),
        dim=model.dim,
        layers=model.layers,
        decoder=model.decoder,
        max_length=model.max_length + 1,  # and the end
    )
    if pretrained and model.start:
        _start_from(network, model.start, model.hashed)
    else:
        hash_layers(network, model.hashed)
    return network


def _start_from(network: PlateReader, start: str, hashed: float) -> None:
    """Fill the network, and hash it, before or after as the checkpoint was."""
    require_start(start)
    try:
        arrays = packaged_values() if start == _PACKAGED else load_file(absolute(start))
        hashed_before = any(is_bucket(name) for name in arrays)
        if hashed_before:
            hash_layers(network, hashed)
        if missing := sorted(set(float_views(network)) - set(arrays)):
            raise StoredFileError(f"array {missing[0]!r} is missing")
        load_arrays(network, arrays)
        if not hashed_before:
            hash_layers(network, hashed)
    except (SafetensorError, OSError, ValueError) as error:
        name = "the packaged reader" if start == _PACKAGED else absolute(start)
        raise NamedFileError("model.start", f"{name} does not fit: {error}; model.start= starts anew") from error


def require_start(start: str) -> None:
    """Raise NamedFileError if the checkpoint to start from is not there."""
    if start != _PACKAGED and not is_file(path := absolute(start)):
        raise NamedFileError("model.start", f"checkpoint not found: {path}")
