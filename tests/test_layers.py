"""Imports go downwards, by the list of rooms in docs/architecture.md; rooms and the edges between them stay few."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("app", "scripts", "strategies", "models")
NESTED = ("strategies", "models")  # rooms with inner folders of their own
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
}
ROOMS = [
    line.split()[0]
    for line in (ROOT / "docs/architecture.md").read_text().split("```rooms\n")[1].split("\n```")[0].splitlines()
]


def room_of(module: str) -> str:
    """The room of a module: its folder, or itself if it lies loose in `app`."""
    first = module.split(".")[0]
    if first in NESTED:
        return first
    folder = module if FILES[module].name == "__init__.py" else module.rpartition(".")[0]
    return module if folder == "app" else folder


def imports(path: Path) -> set[str]:
    """Modules of the project that a file imports, at its head or in a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            full = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if name in FILES else node.module for name in full}
    return found & FILES.keys()


EDGES = {
    (room_of(module), room_of(other)): (module, other)
    for module, path in FILES.items()
    for other in imports(path)
    if room_of(module) != room_of(other)
}


def test_every_room_is_in_the_list():
    rooms = {room_of(module) for module in FILES} - {"app"}  # the package itself is an empty file
    assert rooms == set(ROOMS)


def test_no_import_goes_upwards():
    place = {room: number for number, room in enumerate(ROOMS)}
    upwards = [EDGES[above, below] for above, below in EDGES if place[above] > place[below]]
    assert not upwards


def test_rooms_and_edges_are_few():
    rooms = [room for room in ROOMS if room.startswith("app.")]
    assert len(rooms) <= 21
    assert sum(above.startswith("app.") and below.startswith("app.") for above, below in EDGES) <= 100
    assert {path.name for path in (ROOT / "app").glob("*.py")} == {
        "__init__.py",
        "api.py",
        "client_app.py",
        "server_app.py",
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        ("app.settings.load", "torch torchvision timm cv2 matplotlib tenseal flwr"),
        ("app.server_app", "torch torchvision timm cv2 matplotlib"),
        ("scripts.register, scripts.serve", "torch torchvision timm cv2 matplotlib pyarrow"),
    ],
)
def test_light_modules_load_nothing_heavy(modules, heavy):
    code = f"import sys, {modules}; print(*[name for name in {heavy.split()!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
