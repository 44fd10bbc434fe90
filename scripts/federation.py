"""Prepare and watch a federation on real machines.

Run: python -m scripts.federation init --name parks --host fed.example.org --sites north,south,west
            [--cipher ckks --key-holder cloud]
     python -m scripts.federation verify parks [FOLDER ...]
     python -m scripts.federation preflight FOLDER
     python -m scripts.federation add-site parks east
     python -m scripts.federation remove-site parks east
     python -m scripts.federation rotate parks
     python -m scripts.federation renew parks [--server | --sites] [--bind ADDRESS]
     python -m scripts.federation operator-access parks [--port 8444]
     python -m scripts.federation approve parks [--project CHECKOUT | --bundle FILE.fab] [--again]
     python -m scripts.federation approved FOLDER
     python -m scripts.federation revoke parks SHA256
     python -m scripts.federation apply ARCHIVE [--folder FOLDER] | ARCHIVE --first FINGERPRINT [--set NAME=VALUE ...]
            [--service]
     python -m scripts.federation service FOLDER
     python -m scripts.federation undo FOLDER
     python -m scripts.federation refresh FOLDER
     python -m scripts.federation backup FOLDER FILE
     python -m scripts.federation restore FILE FOLDER
     python -m scripts.federation status RUN_FOLDER|FOLDER [--json] [--run ID]
     python -m scripts.federation model STATE_FOLDER [--run ID] [--out FOLDER]
     python -m scripts.federation keys --out keys [--rotate] [--cipher ckks --key-holder cloud]

Each prints one JSON object last. No secret is ever printed.
"""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from app.core.outputs import require_folder_place
from app.deployment import bundle, parties, setup, updates, verify
from app.deployment.parties import DeploymentError
from scripts import (
    federation_apps,
    federation_archives,
    federation_backup,
    federation_keys,
    federation_preflight,
    federation_sites,
)
from scripts.command import command, run_app
from scripts.federation_keys import KeyHolder, Preset, Scheme, check_holder
from strategies.signing import AUTHORITY_PUBLIC_KEY, fingerprint, read_public_key

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
_INSTALL = Path("/opt/fed-vehicle-reid")
_LOOK_SECONDS = 2.0
_LEARNT = {
    "global": "global model after round",
    "local": "this site's own model of round",
    "personalised": "this site's personal model, of round",
}


federation_sites.add_commands(app)
federation_apps.add_commands(app)
federation_archives.add_commands(app)
federation_backup.add_commands(app)
federation_preflight.add_commands(app)
federation_keys.add_commands(app)


@app.callback()
def _several_commands() -> None:
    """Prepare and watch a federation on real machines."""


@app.command()
def init(
    name: Annotated[str, typer.Option(help="Of the federation: lower-case letters, digits, hyphens.")],
    host: Annotated[str, typer.Option(help="DNS name or address of the server, for the sites.")],
    sites: Annotated[str, typer.Option(help="Their names, separated by commas.")],
    port: Annotated[int, typer.Option(help="The one port of the server.")] = 8443,
    bind: Annotated[
        str, typer.Option(help="Address at which the server listens (BIND), if it is not to be all of its machine.")
    ] = "",
    operator_port: Annotated[
        int, typer.Option(help="A second port of the server, for an operator on another machine; 0 for none.")
    ] = 0,
    out: Annotated[Path | None, typer.Option(help="The folder to create; by default the name.")] = None,
    install: Annotated[
        Path, typer.Option(help="Folder of the project on the parties' machines, with their own folder in it.")
    ] = _INSTALL,
    cipher: Annotated[Scheme, typer.Option(help="Cipher of the runs; the sites' policies allow it.")] = Scheme.kahe,
    preset: Annotated[Preset, typer.Option(help="Parameters of ckks.")] = Preset.compact,
    key_holder: Annotated[KeyHolder, typer.Option(help="Of ckks: who can decrypt the sum.")] = KeyHolder.client,
) -> None:
    """Create certificates, keys, start commands and services: one folder a party, and one archive of each."""
    check_holder(cipher, key_holder)
    project = federation_apps.CHECKOUT
    names = [site for site in sites.split(",") if site]
    plan = setup.Plan(
        name,
        host,
        port,
        names,
        install,
        project,
        Path(sys.prefix),
        operator_port,
        cipher=cipher.value,
        ckks_preset=preset.value,
        key_holder=key_holder.value,
        bind=bind,
    )
    root = out or Path(name)
    require_folder_place("--out", root)
    apps = []
    if (project / "pyproject.toml").is_file():  # not if the project was installed without a checkout
        apps = [bundle.describe(bundle.build(project), str(project))]
    key, cloud = federation_sites.new_federation_keys(cipher, preset, key_holder)
    folders = setup.make_federation(plan, root, key, apps, cloud)
    for approved in apps:
        print(f"sites may run the code of this checkout: {approved}")
    if not apps:
        print(f"sites run no code yet: python -m scripts.federation approve {root} --project CHECKOUT")
    print(f"{root / 'authority'}: keep it where no run takes place; it makes further sites and certificates")
    first = root / updates.FIRST_FOLDER
    holds = "it holds the server's half of the key" if cloud else "it holds no federation key"
    place = "over a safe channel" if operator_port else "to the server's machine"
    print(f"{first / 'server.tar'}: to the server, over a safe channel; {holds}")
    print(f"{first / 'operator.tar'}: to whoever starts runs, {place}: register.sh once, then run.sh")
    for site in names:
        print(f"{first / f'{site}.tar'}: to the site {site}, over a safe channel")
    said = fingerprint(read_public_key(root / "authority" / AUTHORITY_PUBLIC_KEY))
    print(f"there, in the folder of the project: python -m scripts.federation apply FILE --first {said}")
    print("tell people the fingerprint by another way than the archives take")
    if operator_port:
        print(f"{root / 'server' / parties.CONTROL} says how nginx lets the operator in at port {operator_port}")
    print("then set the *.env file in each folder, check it with `federation preflight FOLDER`, and run start.sh")
    print(
        json.dumps(
            {
                "folder": str(root),
                "key_id": key.key_id,
                "fingerprint": said,
                "parties": [str(folder) for folder in folders],
            }
        )
    )


@app.command("verify")
def verify_folder(
    folders: Annotated[list[Path], typer.Argument(help="A party's folder, or that of the federation; or several.")],
) -> None:
    """Check names, ages, permissions and misplaced secrets; status 2 if there is a problem."""
    for folder in folders:
        federation_sites.complete_first(folder)
    found = {folder: parties.parties_of(folder) for folder in folders}
    for folder, paths in found.items():
        if not paths:
            raise DeploymentError(f"{folder} is no folder of a federation")
    wrong = {str(path): verify.problems(path) for paths in found.values() for path in paths}
    for path, sentences in wrong.items():
        print(f"{path}: {'; '.join(sentences) or 'in order'}")
    count = sum(len(sentences) for sentences in wrong.values())
    print(json.dumps({"problems": count, "folders": wrong}))
    if count:
        named = ", ".join(map(str, folders))
        raise DeploymentError(f"{count} problem{'s' if count > 1 else ''} in {named}")


@app.command()
def status(
    run: Annotated[
        Path, typer.Argument(help="The run folder, on the server; or the folder of the server, the operator or a site.")
    ],
    number: Annotated[str, typer.Option("--run", help="For operator and site: the run; by default the newest.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one object and end.")] = False,
) -> None:
    """Show rounds, bytes, measures and stragglers of a run, until it ends; at the operator's or a site, what is known
    there, once."""
    from rich.console import Console  # the other commands need none of this
    from rich.live import Live

    from app.deployment import remote_status
    from app.deployment.status import read_status, status_table

    if (run / parties.PARTY_FILE).exists():
        if parties.read_party(run).kind is not parties.Kind.server:
            seen = remote_status.remote_status(run, number)
            if not as_json:
                Console(stderr=True).print(remote_status.remote_table(seen))
            print(json.dumps(seen))
            return
        run = remote_status.newest_run_folder(run)
    now = read_status(run)
    console = Console(stderr=True)
    if not as_json and not console.is_terminal:  # a live table needs a terminal; a file gets the table after each round
        shown = None
        while shown != (mark := (now["round"], now["state"])) or now["state"] == "running":
            if shown != mark:
                console.print(status_table(now))
                shown = mark
            if now["state"] == "running":
                time.sleep(_LOOK_SECONDS)
                now = read_status(run)
    elif not as_json:
        with Live(status_table(now), console=console, refresh_per_second=1) as live:
            while now["state"] == "running":
                time.sleep(_LOOK_SECONDS)
                now = read_status(run)
                live.update(status_table(now))
    print(json.dumps(now))


@app.command()
def model(
    state: Annotated[Path, typer.Argument(help="The folder `state` of a site.")],
    run: Annotated[str, typer.Option(help="The run, or the beginning of its name; by default the newest.")] = "",
    out: Annotated[
        Path | None, typer.Option(help="Folder of the checkpoints; by default state/models/RUN.", file_okay=False)
    ] = None,
    settings: Annotated[
        Path | None, typer.Option(help="settings.json of the run, if the site has none.", exists=True)
    ] = None,
) -> None:
    """Write checkpoints of a run's models at a site, also of a run that was stopped or cut off."""
    from app.core.site_runs import chosen_run, listed, runs_in
    from app.federation.site_model import model_of  # torch, which the other commands do not need

    runs = runs_in(state)
    chosen = chosen_run(runs, run)
    if len(runs) > 1 and not run:
        print(f"the newest of {len(runs)} runs, {listed(runs)}; --run takes another", file=sys.stderr)
    made = model_of(chosen, out, settings)
    for sentence in made["damaged"]:
        print(f"skipped: {sentence}", file=sys.stderr)
    for kind, server_round in made["rounds"].items():
        learnt = _LEARNT[kind]
        print(f"{made['models'][kind]}: {learnt} {server_round}", file=sys.stderr)
    if "global" not in made["rounds"]:
        print("no global model has arrived yet: a sum comes with the message of the round after it", file=sys.stderr)
    print(json.dumps(made))


def main(argv: Sequence[str]) -> None:
    """Run one command. Raises SettingsError for an unknown option."""
    run_app(app, argv, "python -m scripts.federation")


if __name__ == "__main__":
    command(main, sys.argv[1:])
