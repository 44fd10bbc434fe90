"""The image's and the containers' files. `make image` builds the image and runs a federation in it."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from page_blocks import blocks, commands
from parsed_commands import read_command

from app.deployment import parties
from scripts import serve

PROJECT = Path(__file__).parents[2]
FOLDER = PROJECT / "docs/examples/containers"
DOCKERFILE = (PROJECT / "Dockerfile").read_text()
FILES = sorted(path.name for path in FOLDER.glob("*.yaml"))


def services(name):
    return yaml.safe_load((FOLDER / name).read_text())["services"]


def page_commands():
    """Words of every command of the page."""
    return [words for block in blocks(PROJECT / "docs/containers.md") for words in commands(block)]


def inner(words):
    """The command that runs in a container, [] for the service's own."""
    return words[words.index("fed-vehicle-reid", 3) :] if "fed-vehicle-reid" in words[3:] else []


def copied():
    """What the image takes of the checkout."""
    lines = re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
    return {word for line in lines for word in line.split()[:-1]}


def test_hadolint_finds_nothing():
    program = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([program, PROJECT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_image_holds_the_package_and_nothing_else_of_the_checkout():
    """Every package of the wheel, by name: a folder of images or keys beside them is not even sent to the engine."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    packages = set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    others = {"constraints.txt", "pyproject.toml", "README.md", "LICENSE", ".gitignore"}
    assert copied() == packages | others
    lines = [line for line in (PROJECT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    assert {line.removeprefix("!") for line in lines if line.startswith("!")} == copied()
    extras = re.search(r"^ARG EXTRAS=(.+)$", DOCKERFILE, re.MULTILINE)[1].split(",")
    assert set(extras) < set(project["project"]["optional-dependencies"])


def test_the_images_user_is_not_root_and_owns_the_places_of_volumes():
    *_, last = re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE)
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last)  # by number: an engine can tell that it is not root
    user, group = last.split(":")
    [owned] = re.findall(rf"install -d -o {user} -g {group} -m 700 (.+)$", DOCKERFILE, re.MULTILINE)
    places = {
        "/" + volume.rsplit(":", 1 if not volume.endswith(":ro") else 2)[1].split("/")[1]
        for name in FILES
        for service in services(name).values()
        for volume in service["volumes"]
    }
    assert places - {"/server"} == set(owned.split()) - {"/cache"}
    for name in FILES:
        for service in services(name).values():
            assert f"/cache:uid={user},gid={group},mode=0700" in service["tmpfs"]


@pytest.mark.parametrize("name", FILES)
def test_each_container_is_closed(name):
    for service in services(name).values():
        assert service["image"] == "fed-vehicle-reid"
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["pids_limit"] <= 1000
        assert not {"privileged", "cap_add", "devices", "pid", "ipc", "user"} & service.keys()
        for volume in service["volumes"]:
            source = re.sub(r"\$\{\w+:[?-].*?\}", "x", volume).split(":")[0]
            assert not source.startswith(("/", "~"))


@pytest.mark.parametrize("name", FILES)
def test_a_partys_secrets_are_read_only_to_it(name):
    """The state is its only place to write: no policy, list of bundles or key can be changed from within."""
    for service in services(name).values():
        if service.get("command") == ["/bin/sh", f"/federation/{parties.START}"]:
            rights = {volume.split(":/")[-1]: volume for volume in service["volumes"]}
            assert rights.keys() <= {"federation:ro", f"federation/{parties.STATE}", "images:ro"}
            assert {"federation:ro", f"federation/{parties.STATE}"} <= rights.keys()
            assert service["healthcheck"]["test"][:4] == ["CMD", "python", "-m", "app.deployment.health"]


def test_a_federation_on_one_machine_has_no_way_out_and_no_port():
    networks = yaml.safe_load((FOLDER / "compose.yaml").read_text())["networks"]
    assert networks["parks"]["internal"] is True
    for name, service in services("compose.yaml").items():
        if name == "register":
            assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        else:
            assert "ports" not in service
            assert service.get("networks") == ["parks"] or service["network_mode"] == "service:server"


@pytest.mark.parametrize("name", ["compose.yaml", "register.yaml"])
def test_the_registers_command_is_one_that_serve_takes(name, monkeypatch, tmp_path):
    """It goes as far as the certificate, which is not here."""
    program, *words = services(name)["register"]["command"]
    assert (program, words[:2]) == ("fed-vehicle-reid", ["serve", "run"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Exception, match=r"tls\.(crt|key)|register"):
        serve.main([*words[1:], "--register", str(tmp_path)])


def test_the_pages_commands_name_services_variables_and_folders_that_there_are():
    asked = 0
    for words in page_commands():
        given = [words.pop(0).split("=")[0] for _ in range(2) if re.match(r"[A-Z]+=", words[0])]
        if words[:2] != ["docker", "compose"]:
            continue
        asked += 1
        name = words[words.index("-f") + 1] if "-f" in words else "compose.yaml"
        required = re.findall(r"\$\{(\w+):\?", (FOLDER / name).read_text())
        assert set(required) <= set(given)
        assert all(f"${{{variable}" in (FOLDER / name).read_text() for variable in given)
        for place, word in enumerate(words):
            if word == "run":
                assert words[place + 2] in services(name)
        if words[2] == "up" and words[-1] != "-d":
            assert words[-1] in services(name)
    assert asked >= 8


def test_the_commands_inside_containers_are_read_by_their_programs():
    found = [inner(words) for words in page_commands() if words[:1] == ["docker"] and words[1] != "build"]
    found = [words[1:] if words[:2] == 2 * ["fed-vehicle-reid"] else words for words in found if len(words) > 1]
    assert [words[1] for words in found] == ["federation", "register", "serve"]
    for words in found:
        read_command(words)
