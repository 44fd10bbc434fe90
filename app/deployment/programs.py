"""Programs of a party: start command, systemd service, and the operator's scripts, of the version installed here."""

from dataclasses import replace
from pathlib import Path

from app.deployment import parties as p
from app.deployment.filling import fill
from app.deployment.parties import Kind, Party
from app.deployment.site_names import authority_text
from strategies.signing import AUTHORITY_PUBLIC_KEY, read_public_key

_SERVER_DEVICES = "PrivateDevices=true"
_SITE_DEVICES = """\
# NVIDIA's accelerators beside the pseudo devices; modules are loaded by root at boot (nvidia-persistenced).
DevicePolicy=closed
DeviceAllow=char-nvidia* rw"""


def write_programs(folder: Path) -> list[Path]:
    """Write a party's scripts of this version of the project, and return their paths; its settings stay."""
    party = p.read_party(folder)
    if party.kind is Kind.server:
        fill("server-start.sh", folder / p.START, p.PROGRAM, federation=party.federation)
    elif party.kind is Kind.site:
        address = _address(party.host, party.port)
        values = {"federation": party.federation, "site": party.name, "address": address}
        fill("site-start.sh", folder / p.START, p.PROGRAM, **values)
        if not (folder / p.POLICY).exists():  # a folder that is older than policies, too
            del values["address"]
            chosen = {"cipher": party.cipher, "key_holder": party.key_holder}
            fill(p.POLICY, folder / p.POLICY, p.PUBLIC, **values, **chosen)
    elif party.kind is Kind.operator:
        write_operator_scripts(party, folder)
    return [folder / name for name, mode in party.files().items() if mode == p.PROGRAM]


def write_operator_scripts(party: Party, folder: Path) -> None:
    """For the sites whose public keys the operator has."""
    sites = sorted(path.stem for path in (folder / "sites").glob("*.pub"))
    values = {
        "federation": party.federation,
        "address": _address(party.host, party.control_port or party.port),
        "sites": " ".join(sites),
        "num_sites": len(sites),
        "key_id": party.key_id,
        "authority": "",
        "privacy": _privacy_words(party),
    }
    if (folder / AUTHORITY_PUBLIC_KEY).exists():
        values["authority"] = authority_text(read_public_key(folder / AUTHORITY_PUBLIC_KEY))
    for name in (p.CONNECT, p.REGISTER, p.RUN, p.FLWR):
        fill(name, folder / name, p.PROGRAM, **values)


def _privacy_words(party: Party) -> str:
    """Arguments of a run beside the default cipher, each followed by a blank."""
    words = [] if party.cipher == "kahe" else [f"privacy={party.cipher}", f"privacy.ckks_preset={party.ckks_preset}"]
    if party.key_holder == "cloud":
        place = Path(party.install) / replace(party, kind=Kind.server, name="server").unit / p.CLOUD_KEY
        words += ["privacy.key_holder=cloud", f"'privacy.cloud_key=\"{place}\"'"]
    return "".join(f"{word} " for word in words)


def write_unit(party: Party, folder: Path, place: Path) -> None:
    """The systemd service of a server or site, into `folder`.

    Args:
        place: the party's own folder, where the service starts it.
    """
    what = f"Site {party.name}" if party.kind is Kind.site else "Server"
    description = f"{what} of the federation {party.federation}"
    fill(
        "service",
        folder / f"{party.unit}.service",
        p.PUBLIC,
        description=description,
        folder=place,
        start=p.START,
        state=p.STATE,
        devices=_SITE_DEVICES if party.kind is Kind.site else _SERVER_DEVICES,
    )


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
