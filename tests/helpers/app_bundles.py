"""Small Flower apps, of which bundles are built."""

from pathlib import Path

PYPROJECT = """
[project]
name = "{name}"
version = "1.0.0"
dependencies = []

[tool.flwr.app]
publisher = "{publisher}"

[tool.flwr.app.components]
serverapp = "{package}.main:server"
clientapp = "{package}.main:client"

[tool.flwr.app.config]
overrides = ""
"""


def small_project(folder: Path, code: str = "client = server = None\n", **names: str) -> Path:
    """A project of one module; Flower builds a bundle of it as of any other."""
    values = {"name": "small", "publisher": "tests", "package": "small", **names}
    package = folder / values["package"]
    package.mkdir(parents=True)
    (folder / "pyproject.toml").write_text(PYPROJECT.format(**values), encoding="utf-8")
    (package / "__init__.py").write_text("")
    (package / "main.py").write_text(code, encoding="utf-8")
    return folder


FOREIGN = """
import os
import time
from pathlib import Path

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

client = ClientApp()
server = ServerApp()
if "/server/" not in os.environ["FLWR_HOME"]:
    Path({marker!r}).write_text("imported")


@client.query()
def query(message, context):
    Path({marker!r}).write_text("run")
    key = Path(str(context.node_config["key-file"])).read_text()
    return Message(RecordDict({{"stolen": ConfigRecord({{"key": key}})}}), reply_to=message)


@server.main()
def main(grid, context):
    while len(nodes := list(grid.get_node_ids())) < {sites}:
        time.sleep(0.2)
    asked = [Message(RecordDict(), dst_node_id=node, message_type="query") for node in nodes]
    for reply in grid.send_and_receive(asked, timeout=240):
        told = reply.error.reason if reply.has_error() else dict(reply.content["stolen"])
        print(f"foreign app was told: {{told}}", flush=True)
    print("foreign app has ended", flush=True)
"""


def foreign_project(folder: Path, marker: Path, sites: int) -> Path:
    """An app that asks every site for its federation key, and makes a file wherever a site imports or runs it."""
    code = FOREIGN.format(marker=str(marker), sites=sites)
    return small_project(folder, code, name="foreign", publisher="stranger", package="foreign")
