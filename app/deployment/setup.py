"""Setup of a federation's folders: one a party, each with exactly the files of that party."""

import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from app.deployment import approval, party_fields
from app.deployment import parties as p
from app.deployment.approval import App
from app.deployment.certificates import Issued, is_local, new_authority, new_server, new_site_key
from app.deployment.certify import write_certificates
from app.deployment.changes import changing, complete
from app.deployment.filling import fill as _fill
from app.deployment.operator_access import check_operator_port, write_access
from app.deployment.parties import DeploymentError, Kind, Party, write_file
from app.deployment.ports import assign_port
from app.deployment.programs import write_operator_scripts, write_programs, write_unit
from app.deployment.share_certificates import Scope, write_share_keys
from app.deployment.updates import write_updates
from strategies.ciphers.keys import FederationKey, read_key, write_key

INSTALL = party_fields.INSTALL


@dataclass(frozen=True)
class Plan:
    """Plan of a new federation.

    Args:
        host: name or address of the server for sites; also in its certificate.
        install: folder of the project (with its `.venv`) on the parties' machines and, in it, of their own folder.
        project, venv: of the operator, who starts runs from this machine.
        operator_port: of the server, for an operator on another machine; 0 for one at the server.
        cipher, ckks_preset, key_holder: as in `privacy`; the sites' policies allow these.
        bind: address at which the server listens; "" for all of its machine, or for loopback with a host that is local.
    """

    name: str
    host: str
    port: int
    sites: Sequence[str]
    install: Path
    project: Path
    venv: Path
    operator_port: int = 0
    cipher: str = "kahe"
    ckks_preset: str = "compact"
    key_holder: str = "client"
    bind: str = ""

    def __post_init__(self) -> None:
        if not INSTALL.fullmatch(str(self.install)):
            raise DeploymentError(f"install folder {str(self.install)!r}: an absolute path of letters, digits and ._/-")
        p.check_name("federation", self.name)
        p.check_host(self.host, self.port)
        if self.bind:
            p.check_bind(self.bind)
        if self.operator_port:
            check_operator_port(self.host, self.operator_port, self.port)
        for site in self.sites:
            p.check_name("site", site)
            if site in (Kind.authority, Kind.server, Kind.operator):
                raise DeploymentError(f"site {site!r} has the name of another party")
        twice = {site for site in self.sites if list(self.sites).count(site) > 1}
        if twice:
            raise DeploymentError(f"sites named twice: {', '.join(sorted(twice))}")
        if len(self.sites) < 2:
            raise DeploymentError("a federation has two sites or more: the sum of one update is that update")

    def party(self, kind: Kind, name: str, key_id: str) -> Party:
        """A party of this federation."""
        party = Party(self.name, kind, name, self.host, self.port, key_id, str(self.install))
        return replace(party, cipher=self.cipher, ckks_preset=self.ckks_preset, key_holder=self.key_holder)


def make_federation(
    plan: Plan, root: Path, key: FederationKey, apps: Sequence[App] = (), cloud: FederationKey | None = None
) -> list[Path]:
    """Write all folders, and an archive of each for its machine; the folders' paths.

    Args:
        apps: bundles that sites may run from the start.
        cloud: the server's key where it decrypts sums.

    Raises DeploymentError if `root` exists; a failure leaves nothing."""
    if root.exists():
        raise DeploymentError(f"{root} is there already")
    for site in plan.sites:
        p.check_other_look(site, plan.sites)
    making = root.with_name(f".{root.name}.new")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True, mode=0o700)
    try:
        authority = new_authority(plan.name)
        _authority(plan, making / "authority", authority, key)
        _server(plan, making / "server", authority, key.key_id)
        if cloud is not None:
            write_key(cloud, making / "server" / p.CLOUD_KEY)
        public = {site: _site(plan, site, making, authority.certificate, key) for site in plan.sites}
        _operator(plan, making / "operator", authority.certificate, public, key.key_id)
        approval.make_list(making / "authority", tuple(apps))
        certify(making, key.key_id)
        if plan.operator_port:
            write_access(making, plan.operator_port)
            write_programs(making / "operator")
        write_file(making / p.IGNORE, b"*\n", p.PUBLIC)  # secrets, perhaps in the middle of a checkout
        write_updates(root, making)
        making.replace(root)
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise
    return p.parties_of(root)


def add_site(root: Path, site: str, install: Path | None = None) -> Path:
    """A folder for one more site, from the authority's and the operator's folders.

    Raises DeploymentError if `install` is missing and the folders are too old to hold it."""
    complete(root)
    owner = p.read_party(root / "authority")
    folder = root / "sites" / site
    present = sites_of(root)
    p.check_name("site", site)
    if site in present or folder.exists():
        raise DeploymentError(f"site {site!r} is there already")
    p.check_other_look(site, present)
    if install is None and not owner.install:
        raise DeploymentError(f"{root} does not say where sites keep the project: give --install, as `init` had it")
    where = install or Path(owner.install)
    plan = Plan(owner.federation, owner.host, owner.port, [*present, site], where, Path(), Path())
    plan = replace(plan, cipher=owner.cipher, ckks_preset=owner.ckks_preset, key_holder=owner.key_holder)
    certificate = (root / "authority" / p.AUTHORITY_CERTIFICATE).read_bytes()
    key = read_key(root / "authority" / p.FEDERATION_KEY)
    approval.check_list(root / "authority")
    with changing(root) as copy:
        public = _site(plan, site, copy, certificate, key)
        approval.copy_to_site(copy / "authority", copy / "sites" / site)
        write_file(copy / "operator" / "sites" / f"{site}.pub", public, p.PUBLIC)
        certify(copy, key.key_id)
    return folder


def remove_site(root: Path, site: str) -> None:
    """Forget a site that has left: its folder, its public keys, and its place in the operator's scripts."""
    complete(root)
    if site not in sites_of(root):
        raise DeploymentError(f"there is no site {site!r}; there are {', '.join(sites_of(root))}")
    if len(sites_of(root)) <= 2:
        raise DeploymentError("two sites are left; with one, its update would be the sum")
    with changing(root) as copy:
        shutil.rmtree(copy / "sites" / site, ignore_errors=True)
        for end in (".pub", ".cert", p.SHARE_END):
            (copy / "operator" / "sites" / f"{site}{end}").unlink(missing_ok=True)
        write_operator_scripts(p.read_party(copy / "operator"), copy / "operator")


def sites_of(root: Path) -> list[str]:
    """Names of the sites, by their public keys."""
    p.read_party(root / "operator")
    return sorted(path.stem for path in (root / "operator" / "sites").glob("*.pub"))


def _authority(plan: Plan, folder: Path, authority: Issued, key: FederationKey) -> None:
    folder.mkdir(mode=0o700)
    replace(plan.party(Kind.authority, "authority", key.key_id), bind=plan.bind).write(folder)
    write_file(folder / p.AUTHORITY_CERTIFICATE, authority.certificate, p.PUBLIC)
    write_file(folder / p.AUTHORITY_KEY, authority.private_key, p.SECRET)
    write_key(key, folder / p.FEDERATION_KEY)


def certify(root: Path, key_id: str, scope: Scope = Scope.missing) -> list[Path]:
    """New certificates of all sites for this federation key, share keys, and the operator's scripts; the paths of
    certificates and share keys."""
    certificates = [*write_certificates(root, key_id), *write_share_keys(root, key_id, scope)]
    if (root / "operator").is_dir():
        write_operator_scripts(replace(p.read_party(root / "operator"), key_id=key_id), root / "operator")
    return certificates


def _server(plan: Plan, folder: Path, authority: Issued, key_id: str) -> None:
    folder.mkdir(mode=0o700)
    party = plan.party(Kind.server, "server", key_id)
    party.write(folder)
    write_file(folder / p.AUTHORITY_CERTIFICATE, authority.certificate, p.PUBLIC)
    write_server_certificate(folder, new_server(authority, plan.host, bind=plan.bind))
    _fill(
        "server.env",
        folder / "server.env",
        p.PUBLIC,
        venv=shlex.quote(str(plan.install / ".venv")),
        bind=plan.bind or ("127.0.0.1" if is_local(plan.host) else "0.0.0.0"),
        port=plan.port,
    )
    write_programs(folder)
    write_unit(party, folder, plan.install / party.unit)


def _site(plan: Plan, site: str, root: Path, authority: bytes, key: FederationKey) -> bytes:
    """Write the folder of one site; its public key."""
    folder = root / "sites" / site
    folder.mkdir(parents=True, mode=0o700)
    party = plan.party(Kind.site, site, key.key_id)
    party.write(folder)
    private, public = new_site_key(f"{plan.name}-{site}")
    write_file(folder / p.AUTHORITY_CERTIFICATE, authority, p.PUBLIC)
    write_file(folder / p.SITE_KEY, private, p.SECRET)
    write_file(folder / p.SITE_PUBLIC_KEY, public, p.PUBLIC)
    write_key(key, folder / p.FEDERATION_KEY)
    _fill(
        "site.env",
        folder / "site.env",
        p.PUBLIC,
        venv=shlex.quote(str(plan.install / ".venv")),
        runtime_port=assign_port(root, site, taken=plan.port),
    )
    write_programs(folder)
    write_unit(party, folder, plan.install / party.unit)
    return public


def _operator(plan: Plan, folder: Path, authority: bytes, public: dict[str, bytes], key_id: str) -> None:
    folder.mkdir(mode=0o700)
    (folder / "sites").mkdir(mode=0o700)
    party = plan.party(Kind.operator, "operator", key_id)
    party.write(folder)
    write_file(folder / p.AUTHORITY_CERTIFICATE, authority, p.PUBLIC)
    for site, key in public.items():
        write_file(folder / "sites" / f"{site}.pub", key, p.PUBLIC)
    venv, project = shlex.quote(str(plan.venv)), shlex.quote(str(plan.project))
    _fill("operator.env", folder / "operator.env", p.PUBLIC, venv=venv, project=project)
    write_operator_scripts(party, folder)


def write_server_certificate(folder: Path, issued: Issued) -> None:
    """Key and certificate of the server into its folder."""
    write_file(folder / p.SERVER_KEY, issued.private_key, p.SECRET)
    write_file(folder / p.SERVER_CERTIFICATE, issued.certificate, p.PUBLIC)
