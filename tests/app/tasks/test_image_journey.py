"""Files of the project between an image file and its loss: few, so that the way can be read."""

import numpy as np
from called_files import called_files
from PIL import Image

from app.core.sample import Sample
from app.settings.load import load_settings
from app.tasks import make_task


def test_few_files_lie_between_an_image_and_its_loss(tmp_path):
    samples = []
    for number in range(64):
        path = tmp_path / f"{number}.png"
        Image.fromarray(np.full((64, 64, 3), 3 * number, np.uint8)).save(path)
        samples.append(Sample(path, pid=number // 4, camid=number % 2, plate_path=path))
    task = make_task(load_settings("experiment=quickstart device=cpu"))
    network, batches = task.build(16, 0).train(), task.batches(samples, 0)
    with called_files() as names:
        loss = task.losses(network, batches[0])["total"]
    assert loss.isfinite()
    assert names() >= {"app/data/crops.py", "app/images/decode.py", "app/tasks/dual.py", "models/losses/triplet.py"}
    assert len(names()) <= 20, sorted(names())
