"""Shared arrays, and the one vector that they become."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies.shared_arrays import LayoutError, SharedLayout, is_private

SHAPES = {"b.weight": (2, 3), "a.bias": (4,), "scale": (), "classifier.weight": (5, 3)}
PRIVATE = ["*classifier*"]

names = st.text("abcdefgh.", min_size=1, max_size=8)
shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)


def random_arrays(shapes, seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


@given(st.dictionaries(names, shapes, min_size=1, max_size=6), st.integers(0, 99))
def test_arrays_come_back_whatever_their_shapes(shapes, seed):
    arrays = random_arrays(shapes, seed)
    layout = SharedLayout.of(shapes, [])
    back = layout.unflatten(layout.flatten(arrays))
    assert list(back) == sorted(shapes)
    for name, array in arrays.items():
        assert back[name].shape == array.shape
        np.testing.assert_array_equal(back[name], array)


def test_the_vector_is_the_shared_arrays_sorted_by_name():
    arrays = random_arrays(SHAPES)
    layout = SharedLayout.of(SHAPES, PRIVATE)
    assert layout.names == ("a.bias", "b.weight", "scale")
    assert layout.size == 4 + 6 + 1
    expected = [*arrays["a.bias"], *arrays["b.weight"].ravel(), float(arrays["scale"])]
    np.testing.assert_array_equal(layout.flatten(arrays), np.array(expected, np.float32))


def test_a_transposed_view_is_read_in_its_own_order():
    array = np.arange(6, dtype=np.float32).reshape(3, 2).T  # (2, 3), not contiguous
    layout = SharedLayout.of({"w": (2, 3)}, [])
    np.testing.assert_array_equal(layout.unflatten(layout.flatten({"w": array}))["w"], array)


def test_what_comes_back_is_a_copy():
    layout = SharedLayout.of({"w": (2,)}, [])
    vector = np.zeros(2, np.float32)
    layout.unflatten(vector)["w"][:] = 1
    assert not vector.any()


@pytest.mark.parametrize(
    ("name", "pattern", "private"),
    [
        ("vehicle.classifier.weight", "*classifier*", True),
        ("vehicle.Classifier.weight", "*classifier*", False),
        ("vehicle.backbone.bn1.weight", "vehicle.backbone.bn?.*", True),
        ("vehicle.backbone.conv1.weight", "vehicle.backbone.bn?.*", False),
    ],
)
def test_patterns_are_shell_style_and_case_sensitive(name, pattern, private):
    assert is_private(name, [pattern]) is private
    assert not is_private(name, [])


def test_nothing_left_to_share_is_an_error():
    with pytest.raises(LayoutError, match="every array is private"):
        SharedLayout.of(SHAPES, ["*"])


def test_a_missing_array_and_another_shape_are_named():
    layout = SharedLayout.of(SHAPES, PRIVATE)
    arrays = random_arrays(SHAPES)
    with pytest.raises(LayoutError, match=r"'b\.weight' is missing"):
        layout.flatten({name: array for name, array in arrays.items() if name != "b.weight"})
    with pytest.raises(LayoutError, match=r"'b\.weight' has shape \(3, 2\).*\(2, 3\)"):
        layout.flatten({**arrays, "b.weight": arrays["b.weight"].T})


@pytest.mark.parametrize("length", [10, 12])
def test_a_vector_of_another_length_is_refused(length):
    with pytest.raises(LayoutError, match="holds 11 values"):
        SharedLayout.of(SHAPES, PRIVATE).unflatten(np.zeros(length, np.float32))


def test_the_digest_tells_names_shapes_and_order_apart():
    base = SharedLayout(("a", "b"), ((2, 3), (4,)))
    others = [
        SharedLayout(("b", "a"), ((2, 3), (4,))),
        SharedLayout(("a", "c"), ((2, 3), (4,))),
        SharedLayout(("a", "b"), ((3, 2), (4,))),
        SharedLayout(("a", "b"), ((6,), (4,))),
        SharedLayout(("a",), ((2, 3),)),
    ]
    assert len({layout.digest for layout in [base, *others]}) == 6
    assert base.digest == SharedLayout(("a", "b"), ((2, 3), (4,))).digest


def test_the_digest_does_not_depend_on_the_order_of_the_dictionary_or_on_private_arrays():
    backwards = dict(reversed(SHAPES.items()))
    wider = {**SHAPES, "classifier.weight": (99, 3)}
    assert len({SharedLayout.of(shapes, PRIVATE).digest for shapes in (SHAPES, backwards, wider)}) == 1
    assert SharedLayout.of(SHAPES, []).digest != SharedLayout.of(wider, []).digest
