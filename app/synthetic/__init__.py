"""Synthetic vehicles: a data set rendered by this package, so that everything runs without a download."""

from app.settings.synthetic import SyntheticSettings, folder_name
from app.synthetic.dataset import generate, rendered_images
from app.synthetic.render import Rendered, Renderer
from app.synthetic.scenes import Scene, SceneRenderer

__all__ = [
    "Rendered",
    "Renderer",
    "Scene",
    "SceneRenderer",
    "SyntheticSettings",
    "folder_name",
    "generate",
    "rendered_images",
]
