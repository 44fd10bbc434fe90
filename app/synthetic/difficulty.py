"""Difficulty of the test split for features that were not learnt on it; the last line printed is JSON.

python -m app.synthetic.difficulty                            # untrained resnet18, 128 px
python -m app.synthetic.difficulty WEIGHTS.safetensors        # tf_efficientnet_lite0 of ImageNet, 192 px
"""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import timm
import torch
from numpy.typing import NDArray

from app.settings.synthetic import SyntheticSettings
from app.synthetic.dataset import rendered_images

Floats = NDArray[np.float32]


def mean_ap(
    query: Floats,
    gallery: Floats,
    q_pids: NDArray[np.int64],
    q_camids: NDArray[np.int64],
    g_pids: NDArray[np.int64],
    g_camids: NDArray[np.int64],
) -> float:
    """mAP by definition of L2-normalised rows (Q, D) and (G, D); same vehicle in the same camera is left out."""
    scores = []
    for row, pid, camid in zip(query @ gallery.T, q_pids, q_camids, strict=True):
        keep = ~((g_pids == pid) & (g_camids == camid))
        match = (g_pids[keep] == pid)[np.argsort(-row[keep], kind="stable")]
        if match.any():
            ranks = np.flatnonzero(match) + 1
            scores.append(float(np.mean(np.arange(1, len(ranks) + 1) / ranks)))
    return float(np.mean(scores))


@torch.no_grad()
def embed(model: torch.nn.Module, images: Sequence[NDArray[np.uint8]], size: int, mean: Floats, std: Floats) -> Floats:
    """L2-normalised features (N, D) of blue-green-red images at `size` pixels."""
    model.eval()
    parts = []
    for start in range(0, len(images), 32):
        batch = np.stack(
            [cv2.resize(i, (size, size), interpolation=cv2.INTER_AREA) for i in images[start : start + 32]]
        )
        normal = (batch[..., ::-1].astype(np.float32) / 255 - mean) / std
        parts.append(model(torch.from_numpy(normal.transpose(0, 3, 1, 2).copy())).numpy())
    features: Floats = np.concatenate(parts)
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def main(argv: Sequence[str]) -> None:
    """Render the default test split, embed it and print the mAP."""
    start = time.perf_counter()
    pairs = [
        (s, r.image) for s, r in rendered_images(SyntheticSettings(train_vehicles_per_site=0, val_vehicles_per_site=0))
    ]
    rate = len(pairs) / (time.perf_counter() - start)
    images = [image for _, image in pairs]
    pids, camids = np.array([s.pid for s, _ in pairs]), np.array([s.camid for s, _ in pairs])
    asks = np.array([s.split == "test_query" for s, _ in pairs])
    half = np.full(3, 0.5, np.float32)
    scores = []
    for seed in range(1 if argv else 3):
        torch.manual_seed(seed)
        if argv:
            model = timm.create_model("tf_efficientnet_lite0", checkpoint_path=str(Path(argv[0])))
            model.reset_classifier(0)  # type: ignore[operator]
            features = embed(model, images, 192, half, half)
        else:
            imagenet = (np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32))
            features = embed(timm.create_model("resnet18", num_classes=0), images, 128, *imagenet)
        scores.append(mean_ap(features[asks], features[~asks], pids[asks], camids[asks], pids[~asks], camids[~asks]))
    print(json.dumps({"mAP": float(np.mean(scores)), "runs": scores, "pictures": len(images), "pictures_per_s": rate}))


if __name__ == "__main__":
    main(sys.argv[1:])
