"""OSNet-AIN: its form, its weights from ONNX files, and what such a file must not be."""

import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from models.backbone import build_backbone, input_statistics_of, takes
from models.osnet import OSNet
from models.two_stream_net import cut_backbone

pytestmark = pytest.mark.slow

HEAD = {"head": True, "activation": "prelu"}  # of the published network
FIXED = {**HEAD, "fixed_norms": True}
PUBLISHED = 2.183e6  # values of `vehicle-reid-0001` as its page has it


def trained(**options) -> OSNet:
    """A network whose arrays all differ from those of a new one."""
    torch.manual_seed(1)
    network = build_backbone("osnet_ain_x1_0", options=options).eval()
    with torch.no_grad():
        for name, array in network.state_dict().items():
            if name.endswith(("bn.weight", "IN.weight", "running_var", "fc.1.weight")):
                array.uniform_(0.5, 1.5)
            elif array.is_floating_point() and array.ndim == 1:
                array.uniform_(-0.2, 0.2)
    return network


def file_of(path: Path, arrays: dict[str, torch.Tensor]) -> Path:
    """An ONNX file that holds these arrays."""
    held = [numpy_helper.from_array(array.numpy(), name) for name, array in arrays.items()]
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "osnet", [], [], initializer=held)), path)
    return path


@pytest.fixture(scope="module")
def published() -> dict[str, torch.Tensor]:
    """Arrays with the names and shapes of the file: with the layer of the embedding, and a classifier."""
    state = trained(**HEAD).state_dict()
    return state | {"classifier.weight": torch.ones(512, 2)}


def test_it_has_as_many_values_as_published() -> None:
    count = sum(parameter.numel() for parameter in OSNet(**HEAD).parameters())
    assert count == pytest.approx(PUBLISHED, rel=0.01)


def test_shapes_sizes_and_input() -> None:
    network = build_backbone("osnet_ain_x1_0").eval()
    assert network.num_features == 512
    with torch.no_grad():
        assert network(torch.zeros(1, 3, 208, 208)).shape == (1, 512, 13, 13)
        assert build_backbone("osnet_ain_x1_0", options={"head": True}).eval()(torch.zeros(2, 3, 64, 32)).shape == (
            2,
            512,
            1,
            1,
        )
    assert takes(network, 32, 32)
    assert not takes(network, 31, 64)
    assert input_statistics_of("osnet_ain_x1_0").mean == (0.485, 0.456, 0.406)
    for wrong, named in (({"activation": "gelu"}, "activation must be relu or prelu"), ({"width": 2}, "'width'")):
        with pytest.raises(ValueError, match=named):
            build_backbone("osnet_ain_x1_0", options=wrong)
    with pytest.raises(ValueError, match="no weights of osnet_ain_x1_0 can be fetched; name their file"):
        build_backbone("osnet_ain_x1_0", pretrained=True)


def test_a_block_sees_scales_of_3_to_9_pixels() -> None:
    """Stream t of a block reaches t pixels to each side; its gate weighs channels by the whole stream, and is cut."""
    block = trained().conv3[0]
    block.gate.forward = lambda x: x
    image = torch.zeros(1, 256, 16, 16)
    changed = image.clone()
    changed[..., 8, 8] = 1
    with torch.no_grad():
        for reach, stream in enumerate(block.conv2, start=1):
            narrow = [block.conv1(each) for each in (image, changed)]
            moved = torch.nonzero((stream(narrow[0]) != stream(narrow[1])).any(dim=1)[0])
            assert moved.min(dim=0).values.tolist() == [8 - reach] * 2
            assert moved.max(dim=0).values.tolist() == [8 + reach] * 2
        moved = torch.nonzero((block(image) != block(changed)).any(dim=1)[0])
        assert [int(moved.min()), int(moved.max())] == [4, 12]


def test_the_residual_of_some_blocks_ends_in_instance_normalisation() -> None:
    network = OSNet()
    found = [[block.IN is not None for block in stage] for stage in (network.conv2, network.conv3, network.conv4)]
    assert found == [[True, True], [False, True], [True, False]]
    assert isinstance(network.conv1.bn, torch.nn.InstanceNorm2d)
    assert [block.conv3.bn is None for block in network.conv3] == [False, True]


def test_the_published_file_gives_its_own_embedding(tmp_path: Path, published: dict[str, torch.Tensor]) -> None:
    path, image = file_of(tmp_path / "vehicle.onnx", published), torch.rand(1, 3, 64, 64)
    own = trained(**HEAD)
    loaded = build_backbone("osnet_ain_x1_0", pretrained=path, options=HEAD).eval()
    with torch.no_grad():
        torch.testing.assert_close(loaded(image), own(image))
        found = build_backbone("osnet_ain_x1_0", pretrained=path).eval()(image)
        torch.testing.assert_close(own.fc(found.mean(dim=(2, 3))), own(image)[..., 0, 0])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda arrays: arrays.pop("conv5.bn.running_var"), r"missing: conv5\.bn\.running_var$"),
        (lambda arrays: arrays.update(extra=torch.ones(3)), "unexpected: extra$"),
        (
            lambda arrays: arrays.update({"fc.0.weight": torch.ones(256, 512)}),
            r"another shape: fc\.0\.weight \(256, 512\)",
        ),
        (lambda arrays: arrays.pop("fc.2.weight"), r"missing: fc\.2\.weight"),
    ],
)
def test_another_file_is_refused_by_name(
    tmp_path: Path, published: dict[str, torch.Tensor], change: object, named: str
) -> None:
    arrays = dict(published)
    change(arrays)
    path = file_of(tmp_path / "other.onnx", arrays)
    with pytest.raises(ValueError, match=named):
        build_backbone("osnet_ain_x1_0", pretrained=path, options=HEAD)


def test_a_damaged_file_and_one_for_another_network_are_named(tmp_path: Path) -> None:
    path = tmp_path / "damaged.onnx"
    path.write_bytes(b"no graph")
    with pytest.raises(ValueError, match=r"cannot read weights file .*damaged\.onnx"):
        build_backbone("osnet_ain_x1_0", pretrained=path)
    with pytest.raises(ValueError, match=r"'test_resnet' starts from no ONNX file; osnet_ain_x1_0 does"):
        build_backbone("test_resnet", pretrained=path)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as an exporter writes it: BatchNorm is folded into the convolutions before it, under other names."""

    class Flat(OSNet):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward(images)[..., 0, 0]

    network = Flat(**HEAD)
    network.load_state_dict(trained(**HEAD).state_dict())
    path = tmp_path_factory.mktemp("exported") / "folded.onnx"
    with warnings.catch_warnings(action="ignore"):
        torch.onnx.export(network.eval(), torch.zeros(1, 3, 64, 64), path, dynamo=False, opset_version=13)
    return path


def test_folded_batch_norms_are_unfolded(exported: Path) -> None:
    names = {each.name for each in onnx.load(exported).graph.initializer}
    assert not any("conv5.bn" in name for name in names)
    image, own = torch.rand(2, 3, 64, 64), trained(**HEAD)
    loaded = build_backbone("osnet_ain_x1_0", pretrained=exported, options=FIXED).eval()
    with torch.no_grad():
        expected = own(image)
        # Folding multiplies weights in float32; values differ by some rounding errors of 90 layers.
        torch.testing.assert_close(loaded(image), expected, atol=1e-4 * float(expected.abs().max()), rtol=0)
        headless = build_backbone("osnet_ain_x1_0", pretrained=exported, options={"fixed_norms": True}).eval()
        torch.testing.assert_close(loaded.fc(headless(image).mean(dim=(2, 3))), loaded(image)[..., 0, 0])
    with pytest.raises(ValueError, match=r"unexpected: fc\.2\.weight"):
        build_backbone("osnet_ain_x1_0", pretrained=exported, options={"head": True, "fixed_norms": True})


def test_a_folded_file_without_the_head_is_compared_by_its_map(tmp_path: Path) -> None:
    own, path, fixed = trained(), tmp_path / "map.onnx", {"fixed_norms": True}
    with warnings.catch_warnings(action="ignore"):
        torch.onnx.export(own, torch.zeros(1, 3, 64, 64), path, dynamo=False, opset_version=13)
    image = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        found, expected = build_backbone("osnet_ain_x1_0", pretrained=path, options=fixed).eval()(image), own(image)
        torch.testing.assert_close(found, expected, atol=1e-4 * float(expected.abs().max()), rtol=0)
    model = onnx.load(path)
    next(node for node in model.graph.node if node.op_type == "Sigmoid").op_type = "Relu"
    onnx.save(model, path)
    with pytest.raises(ValueError, match="its embeddings are others"):
        build_backbone("osnet_ain_x1_0", pretrained=path, options=fixed)


def test_a_folded_file_trains_from_what_it_computes(exported: Path) -> None:
    images = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    network = build_backbone("osnet_ain_x1_0", pretrained=exported, options={"fixed_norms": True})
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with torch.no_grad():
        expected = network.eval()(images)
        torch.testing.assert_close(network.train()(images), expected)
    network(images).square().sum().backward()
    torch.optim.SGD(network.parameters(), lr=1e-3).step()
    moved = {key for key, value in network.state_dict().items() if not torch.equal(value, before[key])}
    assert not any("running" in key for key in moved)
    assert {"conv2.0.conv1.conv.weight", "conv5.bn.weight"} <= moved
    with pytest.raises(ValueError, match=r"folded into their convolutions, .*options\.fixed_norms=true"):
        build_backbone("osnet_ain_x1_0", pretrained=exported, options=HEAD)


def test_a_folded_file_that_computes_something_else_is_refused(exported: Path, tmp_path: Path) -> None:
    model = onnx.load(exported)
    gate = next(node for node in model.graph.node if node.op_type == "Sigmoid")
    gate.op_type = "Relu"
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(ValueError, match="its embeddings are others than those of osnet_ain_x1_0"):
        build_backbone("osnet_ain_x1_0", pretrained=tmp_path / "other.onnx", options=FIXED)
    gate.op_type = "Tile"  # may take any memory
    onnx.save(model, tmp_path / "strange.onnx")
    with pytest.raises(ValueError, match="OSNet computes no Tile"):
        build_backbone("osnet_ain_x1_0", pretrained=tmp_path / "strange.onnx", options=FIXED)
    model = onnx.load(exported)
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 100_000
    onnx.save(model, tmp_path / "large.onnx")
    with pytest.raises(ValueError, match=r"it takes \[1, 3, 100000, 64\], not images"):
        build_backbone("osnet_ain_x1_0", pretrained=tmp_path / "large.onnx", options=FIXED)
    model = onnx.load(exported)
    folded = next(node.input[1] for node in model.graph.node if node.op_type == "Conv" and len(node.input) > 2)
    [array] = [each for each in model.graph.initializer if each.name == folded]
    model.graph.initializer.remove(array)
    onnx.save(model, tmp_path / "without.onnx")
    with pytest.raises(ValueError, match=r"it has no array for conv2\.0\.conv1\.conv"):
        build_backbone("osnet_ain_x1_0", pretrained=tmp_path / "without.onnx", options=FIXED)
    model = onnx.load(exported)
    node = next(node for node in model.graph.node if node.op_type == "InstanceNormalization")
    node.op_type = "Identity"
    del node.input[1:]
    onnx.save(model, tmp_path / "shorter.onnx")
    with pytest.raises(ValueError, match=r"its layer 1 is Conv, the network's is conv1\.bn"):
        build_backbone("osnet_ain_x1_0", pretrained=tmp_path / "shorter.onnx", options=FIXED)


def test_it_is_cut_into_a_stem_and_a_trunk() -> None:
    backbone = build_backbone("osnet_ain_x1_0").eval()
    stem, trunk = cut_backbone(backbone, "osnet_ain_x1_0")
    images = torch.rand(1, 3, 64, 48)
    with torch.no_grad():
        assert np.array_equal(trunk(stem(images)), backbone(images))
