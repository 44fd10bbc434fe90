"""Feature extractors of timm's registry, convolutional or of tokens; weights from timm's hub, from a file, or none."""

import difflib
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import load_state_dict
from torch import Tensor, nn
from torch.func import functional_call

from models.errors import MissingFileError, NetworkError, WeightsFileError
from models.input_statistics import InputStatistics
from models.osnet import OSNet
from models.osnet_file import arrays_of_onnx
from models.plugins import PlugInError, is_place, is_plug_in, load, place_of

_PROBE_SIZE = (64, 96)  # pixels, height and width differ so that a transposed or fixed-size output is noticed
_MOST_KNOWN = 64
_known: dict[tuple[Any, ...], tuple[int, int]] = {}
"""Feature maps by what a network was built from and the size of images: a process of a simulation builds the same one
hundreds of times."""


class TokenBackbone(nn.Module):
    """A network of tokens (ViT, DINOv2, EVA, Swin) as one with a feature map.

    Args:
        network: of timm, built for images of one size, without pooling and classifier.
        token: "mean" for the map of the image's own tokens, which pooling averages; "class" for the class token alone,
            a map of one place.
    """

    def __init__(self, network: nn.Module, token: str) -> None:
        super().__init__()
        self.network = network
        self.token = token
        self.prefix = int(getattr(network, "num_prefix_tokens", 0) or 0)
        self.pretrained_cfg = network.pretrained_cfg
        self.num_features = 0

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to (N, C, h, w)."""
        found = self.network(images)
        if found.ndim == 4:  # Swin's (N, h, w, C)
            return found.permute(0, 3, 1, 2) if getattr(self.network, "output_fmt", "NCHW") == "NHWC" else found
        if self.token == "class":
            return found[:, 0, :, None, None]
        tokens = found[:, self.prefix :].transpose(1, 2)
        count = tokens.shape[2]
        high = max(1, round(math.sqrt(count * images.shape[2] / images.shape[3])))
        high = next(side for side in range(high, 0, -1) if count % side == 0)
        return tokens.unflatten(2, (high, count // high))


def build_backbone(
    name: str,
    *,
    pretrained: bool | Path = False,
    options: Mapping[str, Any] | None = None,
    size: tuple[int, int] | None = None,
) -> nn.Module:
    """Build a timm feature extractor: images (N, 3, H, W) to a feature map (N, C, h, w), C = `num_features`.

    Args:
        name: a timm model name, with or without a weights tag: "resnet50", "resnet50.a1_in1k"; or a plug-in, a function
            that its module registers with timm (`timm.models.register_model`).
        pretrained: True lets timm fetch its own weights; a path is a .safetensors or .pth file of this model, of OSNet
            also an .onnx file, whose classifier is dropped; False leaves random values.
        options: further arguments of the model, such as `{"channels": [48, 96, 144, 192]}` for a narrower ResNet; of a
            network of tokens also `token`, see `TokenBackbone`, and where timm has it `dynamic_img_size`, with which
            it takes images of other sizes too.
        size: height and width of the images, for which a network of tokens is built; its position embeddings are
            resampled to it. Without it only networks for images of any size are built.

    Raises:
        ValueError: an unknown model, one whose output is no (N, C, h, w) map, images of a size that it does not take,
            an option that the model does not offer.
        WeightsFileError: the weights file cannot be read, or does not fit; with its keys.
        FileNotFoundError: the weights file is missing.
    """
    name = timm_name(name)
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=5)
        raise NetworkError(f"unknown backbone {name!r}" + (f"; did you mean {', '.join(close)}?" if close else ""))
    path = None if isinstance(pretrained, bool) else Path(pretrained)
    if path is not None and not path.is_file():
        raise MissingFileError(f"weights file of backbone {name!r} not found: {path}")
    given = dict(options or {})
    tokens = size is not None and _has_fixed_size(name)
    token = given.pop("token", "mean") if tokens else ""
    if token not in ("", "mean", "class"):
        raise NetworkError(f"the option token of backbone {name!r} must be mean or class; got {token!r}")
    try:
        network: Any = _of_timm(name, pretrained is True, {**given, **({"img_size": size} if tokens else {})})
    except (TypeError, AttributeError, IndexError, RuntimeError, OSError, ValueError, AssertionError) as error:
        refused = isinstance(error, RuntimeError | ValueError | AssertionError)
        if isinstance(error, OSError) or (refused and pretrained is True and not given):  # of the hub
            raise WeightsFileError(f"the published weights of backbone {name!r} cannot be fetched: {error}") from error
        if not (given or refused or tokens):
            raise
        options_ = f" with {given}" if given else ""
        of_size = f" for images of {size[0]} x {size[1]} px" if tokens and size else ""
        raise NetworkError(f"backbone {name!r} cannot be built{options_}{of_size}: {error}") from error
    if path is not None:
        _load_weights(network, name, path)
    backbone = TokenBackbone(network, token) if tokens else network
    if token == "class" and not backbone.prefix:
        raise NetworkError(f"backbone {name!r} has no class token; leave the option token out")
    backbone.num_features = _output_channels(backbone, name, size if tokens else None)
    backbone.built_from = (timm.model_entrypoint(name), name, repr(sorted(dict(options or {}).items())), size)
    return backbone


def timm_name(name: str) -> str:
    """The name under which timm knows a backbone, once the module of a plug-in is imported."""
    if not is_plug_in("backbones", name):
        return name
    own = (
        not is_place(name)
        and timm.is_model(name)
        and timm.model_entrypoint(name).__module__.startswith(("timm.", "models."))
    )
    if place_of("backbones", name, [name] if own else []) is None:
        return name
    function = load("backbones", name)
    registered = getattr(function, "__name__", "")
    if not timm.is_model(registered):
        raise PlugInError(f"backbone {name} is not registered with timm: decorate it with timm.models.register_model")
    return str(registered)


def _has_fixed_size(name: str) -> bool:
    try:
        return bool(getattr(timm.get_pretrained_cfg(name), "fixed_input_size", False))
    except RuntimeError as error:  # an unknown tag
        raise NetworkError(f"backbone {name!r} cannot be built: {error}") from error


def _of_timm(name: str, pretrained: bool, given: Mapping[str, Any]) -> nn.Module:
    return timm.create_model(name, pretrained=pretrained, num_classes=0, global_pool="", **given)


def takes(backbone: nn.Module, height: int, width: int) -> bool:
    """Whether images of this size, in pixels, give a feature map."""
    return map_size(backbone, height, width) is not None


def map_size(backbone: nn.Module, height: int, width: int) -> tuple[int, int] | None:
    """Height and width of the feature map of images of this size, in pixels; None if they give none.

    By a forward pass that computes shapes alone; a network that cannot do without values gets a blank image. What
    another network of `build_backbone` with the same arguments gave is not computed again."""
    key = (*built, height, width) if (built := getattr(backbone, "built_from", None)) else None
    if key in _known:
        return _known[key]
    sizes = (_map_size(backbone, height, width, device) for device in ("meta", None))
    found = next((size for size in sizes if size is not None), None)
    if key and found:  # not that there is none: memory may have run out
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        _known[key] = found
    return found


@torch.no_grad()
def _map_size(backbone: nn.Module, height: int, width: int, device: str | None) -> tuple[int, int] | None:
    arrays: dict[str, Tensor] = {**dict(backbone.named_parameters()), **dict(backbone.named_buffers())}
    moved = {name: array if device is None else array.to(device) for name, array in arrays.items()}
    place = next(iter(moved.values())).device
    was_training = backbone.training
    backbone.eval()
    try:
        feature = functional_call(backbone, moved, (torch.zeros(1, 3, height, width, device=place),))
    except (AssertionError, RuntimeError, ValueError):
        return None
    finally:
        backbone.train(was_training)
    return (feature.shape[2], feature.shape[3]) if min(feature.shape) > 0 else None


def input_statistics_of(name: str) -> InputStatistics:
    """`input_statistics` of a model by its name, without building it. Raises ValueError for an unknown model."""
    settings: Any = timm.get_pretrained_cfg(timm_name(name))
    if settings is None:
        raise NetworkError(f"unknown backbone {name!r}")
    return InputStatistics(tuple(settings.mean), tuple(settings.std))


def _output_channels(backbone: nn.Module, name: str, size: tuple[int, int] | None) -> int:
    """Return C of the feature map by running one blank image, of a size or of any.

    timm's `num_features` is not C for every model: MobileNetV3 widens the map once more after it."""
    was_training = backbone.training
    backbone.eval()
    try:
        with torch.no_grad():
            feature = backbone(torch.zeros(1, 3, *(size or _PROBE_SIZE)))
    except (AssertionError, RuntimeError, ValueError) as error:
        which = f"images of {size[0]} x {size[1]} px" if size else "images of any size"
        fitting = _fitting(backbone, size) if size else ""
        raise NetworkError(f"backbone {name!r} does not accept {which}: {error}{fitting}") from error
    finally:
        backbone.train(was_training)
    is_map = isinstance(feature, Tensor) and feature.ndim == 4 and getattr(backbone, "output_fmt", "NCHW") == "NCHW"
    if not is_map:
        raise NetworkError(
            f"backbone {name!r} gives tokens, not a feature map (N, C, h, w); choose a convolutional one"
        )
    return int(feature.shape[1])


def _fitting(backbone: nn.Module, size: tuple[int, int]) -> str:
    """The nearest sizes of images that are whole patches of a network of tokens, for an error."""
    patch = getattr(getattr(getattr(backbone, "network", None), "patch_embed", None), "patch_size", None)
    if not patch:
        return ""
    below, above = (
        [max(1, count(side / each)) * each for side, each in zip(size, patch, strict=True)]
        for count in (math.floor, math.ceil)
    )
    sizes = " and ".join(f"{height} x {width} px" for height, width in dict.fromkeys(map(tuple, (below, above))))
    return f" Its patches are of {patch[0]} x {patch[1]} px: {sizes} fit."


def _load_weights(backbone: nn.Module, name: str, path: Path) -> None:
    """Copy the values of a file into the backbone; every key but the classifier's must fit."""
    if path.suffix == ".onnx" and not isinstance(backbone, OSNet):
        raise WeightsFileError(f"weights file {path}: backbone {name!r} starts from no ONNX file; osnet_ain_x1_0 does")
    try:
        if isinstance(backbone, OSNet) and path.suffix == ".onnx":
            arrays: Any = arrays_of_onnx(path, fixed_norms=backbone.fixed_norms)
        else:
            arrays = load_state_dict(str(path), device="cpu", weights_only=True)
    except WeightsFileError:
        raise
    except Exception as error:  # pickle, zip and key errors: whatever another file makes of it
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsFileError(f"cannot read weights file {path}: {first}") from error
    if not isinstance(arrays, Mapping) or not all(isinstance(array, Tensor) for array in arrays.values()):
        raise WeightsFileError(f"cannot read weights file {path}: it does not hold arrays by name")
    settings: Any = backbone.pretrained_cfg
    heads = settings.get("classifier") or ()
    dropped = tuple(f"{head}." for head in ([heads] if isinstance(heads, str) else heads))
    arrays = {key: array for key, array in arrays.items() if not key.startswith(dropped)}
    arrays = _resampled(backbone, arrays)
    own = backbone.state_dict()
    # Files written before BatchNorm counted its batches lack the counter, which only a cumulative average reads.
    missing = [key for key in own if key not in arrays and not key.endswith("num_batches_tracked")]
    problems = {
        "missing": missing,
        "unexpected": [key for key in arrays if key not in own],
        "of another shape": [
            f"{key} {tuple(array.shape)} instead of {tuple(own[key].shape)}"
            for key, array in arrays.items()
            if key in own and array.shape != own[key].shape
        ],
    }
    if any(problems.values()):
        found = "; ".join(f"{kind}: {_some(keys)}" for kind, keys in problems.items() if keys)
        raise WeightsFileError(f"weights file {path} does not fit backbone {name!r}: {found}")
    backbone.load_state_dict(arrays, strict=False)


def _resampled(backbone: nn.Module, arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Arrays of a network of tokens with position embeddings for its size of images, as timm resamples them."""
    filtered = getattr(sys.modules[type(backbone).__module__], "checkpoint_filter_fn", None)
    if filtered is None or not getattr(backbone, "pretrained_cfg", {}).get("fixed_input_size"):
        return dict(arrays)
    return dict(filtered(dict(arrays), backbone))


def _some(keys: list[str], limit: int = 5) -> str:
    """Join the first keys, with the number of those left out."""
    return ", ".join(keys[:limit]) + (f" and {len(keys) - limit} more" if len(keys) > limit else "")
