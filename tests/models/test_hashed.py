"""Hashed layers, against dense layers with their expanded weights and plain loops over the hash."""

import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from models.backbone import build_backbone
from models.hashed import HashedConv2d, HashedLinear, expand_layers, hash_layers, hashes, virtual_size

LIKE = torch.zeros(1)


def slow_mix(x):
    """MurmurHash3's finaliser with Python's integers."""
    x &= 0xFFFFFFFF
    x = (x ^ (x >> 16)) * 0x85EBCA6B & 0xFFFFFFFF
    x = (x ^ (x >> 13)) * 0xC2B2AE35 & 0xFFFFFFFF
    return x ^ (x >> 16)


@pytest.mark.parametrize(("count", "num_buckets", "seed"), [(50, 7, 0), (1000, 999, 3), (300, 1, 2**32 - 1)])
def test_hashes_are_murmurs(count, num_buckets, seed):
    buckets, signs = hashes(count, num_buckets, seed, LIKE)
    for index in range(count):
        first = slow_mix(index + (2 * seed * 0x9E3779B9 & 0xFFFFFFFF))
        second = slow_mix(index + ((2 * seed + 1) * 0x9E3779B9 & 0xFFFFFFFF))
        assert int(buckets[index]) == first * num_buckets // 2**32
        assert int(signs[index]) == (1 if second & 1 else -1)


def test_buckets_and_signs_are_even_and_independent():
    """64 buckets of 2^16 weights: 1024 each, standard deviation 32; five of them are far."""
    buckets, signs = hashes(2**16, 64, 5, LIKE)
    counts = torch.bincount(buckets, minlength=64)
    assert (counts - 1024).abs().max() < 5 * 32
    assert abs(float(signs.mean())) < 5 / 2**8
    by_bucket = torch.zeros(64).index_add_(0, buckets, signs)
    assert by_bucket.abs().max() < 5 * 32
    other, _ = hashes(2**16, 64, 6, LIKE)
    assert abs(float((other == buckets).float().mean()) - 1 / 64) < 0.005


def layers():
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 8, 3, stride=2, padding=1, groups=2)
    return {
        "linear": (HashedLinear(12, 9, 20, seed=4), lambda w, b, x: F.linear(x, w, b), torch.randn(5, 12)),
        "no bias": (HashedLinear(12, 9, 20, bias=False), lambda w, b, x: F.linear(x, w, b), torch.randn(5, 12)),
        "conv": (
            HashedConv2d(conv, 50, seed=9),
            lambda w, b, x: F.conv2d(x, w, b, stride=2, padding=1, groups=2),
            torch.randn(2, 6, 7, 5),
        ),
    }


@pytest.mark.parametrize("name", ["linear", "no bias", "conv"])
def test_a_hashed_layer_is_the_dense_layer_of_its_expanded_weights(name):
    """Forward and gradients to 1e-6; the gradient of a bucket is summed here in a loop over its virtual weights."""
    layer, dense, x = layers()[name]
    layer.double()
    x = x.double().requires_grad_()
    bucket, sign = layer.places()
    weight = torch.zeros(layer.shape, dtype=torch.float64)
    flat = weight.view(-1)
    for place in range(flat.numel()):
        flat[place] = sign[place] * layer.buckets.detach()[bucket[place]]
    weight.requires_grad_()
    y = x.detach().clone().requires_grad_()
    found, expected = layer(x), dense(weight, layer.bias, y)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    up = torch.randn_like(found)
    found.backward(up)
    expected.backward(up)
    sums = [0.0] * len(layer.buckets)
    for place, gradient in enumerate(weight.grad.view(-1).tolist()):
        sums[int(bucket[place])] += float(sign[place]) * gradient
    np.testing.assert_allclose(layer.buckets.grad, sums, atol=1e-6)
    torch.testing.assert_close(x.grad, y.grad, atol=1e-6, rtol=0)


def test_the_state_holds_buckets_and_nothing_else():
    for name, (layer, *_) in layers().items():
        assert set(layer.state_dict()) == {"buckets"} | ({"bias"} if name != "no bias" else set())
        assert not list(layer.buffers())


_BUILD = """
import hashlib
import torch
from torch import nn
from models.hashed import expand_layers, hash_layers
torch.manual_seed(3)
network = hash_layers(nn.Sequential(nn.Conv2d(16, 64, 3), nn.Flatten(), nn.Linear(64, 100)), 0.25, seed=7)
state = [*network.state_dict().values(), *expand_layers(network).state_dict().values()]
digest = hashlib.sha256(b"".join(values.numpy().tobytes() for values in state)).hexdigest()
"""


@pytest.mark.slow
def test_another_process_builds_the_same_network():
    """Buckets and expanded weights, bit for bit."""
    there = subprocess.run([sys.executable, "-c", f"{_BUILD}print(digest)"], capture_output=True, text=True, check=True)
    here: dict[str, object] = {}
    exec(_BUILD, here)
    assert there.stdout.strip() == here["digest"]


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet"])
def test_a_network_is_hashed_and_expanded_again(name):
    torch.manual_seed(0)
    network = build_backbone(name)
    before, names = virtual_size(network), list(network.state_dict())
    hashed = hash_layers(network, 0.25, seed=1, least=1000)
    assert virtual_size(hashed) == before
    large = sum(p.numel() for n, p in hashed.named_parameters() if n.endswith("buckets"))
    left = sum(p.numel() for p in hashed.parameters()) - large
    assert large == pytest.approx((before - left) / 4, rel=0.01)
    pictures = torch.rand(2, 3, 32, 32)
    hashed.eval()
    with torch.no_grad():
        expected = hashed(pictures)
        dense = expand_layers(hashed)
        torch.testing.assert_close(dense(pictures), expected, atol=1e-5, rtol=1e-5)  # the same operations
    assert list(dense.state_dict()) == names


def test_a_network_may_be_one_layer():
    torch.manual_seed(0)
    hashed = hash_layers(nn.Linear(80, 70), 0.5)
    assert isinstance(hashed, HashedLinear)
    x = torch.rand(3, 80)
    dense = expand_layers(hashed)
    assert type(dense) is nn.Linear
    torch.testing.assert_close(dense(x), hashed(x), atol=0, rtol=0)  # the same product of the same weights


def test_taking_over_is_least_squares_up_to_its_length():
    """The best buckets by numpy's least squares; as long as the weight was."""
    torch.manual_seed(0)
    layer, weight = HashedLinear(30, 20, 100, seed=2), torch.randn(20, 30)
    layer.take_over(weight)
    bucket, sign = layer.places()
    system = np.zeros((600, 100))
    system[np.arange(600), bucket.numpy()] = sign.numpy()
    best = np.linalg.lstsq(system, weight.numpy().reshape(-1), rcond=None)[0]
    cosine = best @ layer.buckets.detach().numpy() / np.linalg.norm(best) / float(layer.buckets.detach().norm())
    assert cosine == pytest.approx(1, abs=1e-6)
    assert float(layer.expanded().detach().norm()) == pytest.approx(float(weight.norm()), rel=1e-5)


def test_layers_of_one_size_do_not_share_their_pattern():
    network = hash_layers(nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64)), 0.5)
    first, second = (layer.places()[0] for layer in network)
    assert float((first == second).float().mean()) < 0.01


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: HashedLinear(3, 3, 10), r"num_buckets must lie in 1\.\.9"),
        (lambda: HashedLinear(3, 3, 2, seed=-1), "seed"),
        (lambda: hash_layers(nn.Linear(100, 100), 0), r"ratio must lie in \(0, 1\]"),
        (lambda: hash_layers(nn.Sequential(nn.Linear(3, 3)), 0.5), "no layer of 4096 weights"),
        (lambda: HashedConv2d(nn.Conv2d(3, 3, 3, padding="same"), 5), "not 'same'"),
    ],
)
def test_what_cannot_be_hashed_is_named(make, reason):
    with pytest.raises(ValueError, match=reason):
        make()
