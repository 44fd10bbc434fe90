"""Maps of an image's structure."""

import math

import pytest
import torch
from torch import nn

from models.structure import StructureLayout, StructureMaps, behind_structure


def images(count=2, height=20, width=24, seed=0):
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def by_hand(image):
    """The definition, pixel by pixel, in Python's floats."""
    _, height, width = image.shape
    rows, columns = range(height), range(width)

    def at(maps, row, column):
        return maps[min(max(row, 0), height - 1)][min(max(column, 0), width - 1)]

    grey = [[float(image[:, r, c].mean()) for c in columns] for r in rows]
    near = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    smooth = [[sum(at(grey, r + i, c + j) for i, j in near) / 9 for c in columns] for r in rows]
    gradient = [
        [
            complex(at(smooth, r, c + 1) - at(smooth, r, c - 1), at(smooth, r + 1, c) - at(smooth, r - 1, c))
            for c in columns
        ]
        for r in rows
    ]
    mean = sum(abs(each) for row in gradient for each in row) / (height * width)
    found = torch.zeros(3, height, width)
    for r in rows:
        for c in columns:
            around = [
                abs(gradient[i][j])
                for i in range(max(r - 8, 0), min(r + 9, height))
                for j in range(max(c - 8, 0), min(c + 9, width))
            ]
            scale = sum(around) / len(around) + 0.3 * mean
            length, angle = abs(gradient[r][c]), math.atan2(gradient[r][c].imag, gradient[r][c].real)
            values = (length, length * math.cos(2 * angle), length * math.sin(2 * angle))
            found[:, r, c] = torch.tensor([each / scale for each in values])
    return found


def test_maps_are_those_of_the_definition():
    given = images()
    for image, maps in zip(given, StructureMaps()(given), strict=True):
        assert torch.allclose(maps, by_hand(image), atol=1e-4)  # the floor of 1e-6 under roots and sums


def test_negatives_and_other_brightness_and_contrast_have_the_same_maps():
    given, maps = images(), StructureMaps()
    for changed in (-given, given + 3, 0.5 * given, given.mean(dim=1, keepdim=True).expand_as(given)):
        assert torch.allclose(maps(changed), maps(given), atol=1e-3)  # of floats with an offset of 3
    turned = maps(given.rot90(1, (2, 3)))
    expected = maps(given).rot90(1, (2, 3)) * torch.tensor([1.0, -1.0, -1.0]).view(1, 3, 1, 1)
    assert torch.allclose(
        turned, expected, atol=1e-4
    )  # an edge turned by 90 degrees is its angle doubled, turned by 180


@pytest.mark.parametrize("image", [torch.zeros(1, 3, 8, 8), torch.full((1, 3, 2, 2), 2.0), 1e4 * images(1)])
def test_blank_and_extreme_images_give_finite_maps_and_gradients(image):
    image = image.clone().requires_grad_()
    maps = StructureMaps()(image)
    maps.sum().backward()
    assert maps.isfinite().all()
    assert image.grad.isfinite().all()
    assert maps.abs().max() < 1e3


def test_the_images_type_is_kept_and_computed_in_float32():
    given = images().bfloat16()
    maps = StructureMaps()(given)
    assert maps.dtype == torch.bfloat16
    assert torch.equal(maps, StructureMaps()(given.float()).bfloat16())


def test_parts_of_a_stem_keep_their_names():
    stem = nn.Sequential()
    stem.add_module("conv_stem", nn.Conv2d(3, 4, 3))
    stem.add_module("bn1", nn.BatchNorm2d(4))
    names = list(stem.state_dict())
    whole = behind_structure(stem)
    assert list(whole.state_dict()) == names
    assert torch.equal(whole.eval()(images()), stem.eval()(StructureMaps()(images())))


def test_a_layout_is_the_means_of_cells_of_unit_length_but_for_flat_ones():
    given = images(2, 24, 32)
    maps = StructureMaps()(given)
    for row, own in zip(StructureLayout()(given), maps, strict=True):
        cells = own.reshape(3, 8, 3, 8, 4).mean(dim=(2, 4))
        lengths = cells.norm(dim=0)
        expected = (cells / (lengths + 0.5 * lengths.mean())).flatten()
        assert torch.allclose(row, expected / expected.norm(), atol=1e-5)
    assert torch.allclose(StructureLayout()(-given), StructureLayout()(given), atol=1e-4)
    assert StructureLayout()(torch.zeros(1, 3, 16, 16)).abs().max() == 0
    assert StructureLayout()(given.bfloat16()).dtype == torch.float32
