"""Synthetic vehicles: a data set that is drawn by this package, so that everything runs without a download."""

from app.data.synthetic.dataset import generate, pictures
from app.data.synthetic.render import Rendered, Renderer
from app.data.synthetic.scenes import Scene, SceneRenderer
from app.data.synthetic.settings import SyntheticSettings, folder_name

__all__ = ["Rendered", "Renderer", "Scene", "SceneRenderer", "SyntheticSettings", "folder_name", "generate", "pictures"]
