"""Builder of the configured parts: cipher, server optimiser, and the rules of a round."""

from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from numpy.typing import NDArray

from app.core.limits import usable_cpus
from app.federation.share_key_files import simulated_authority_public
from app.federation.share_store import ShareStore
from app.settings.checks import SettingsError
from app.settings.federation import ServerOptimiserSettings
from app.settings.load import Settings, absolute
from app.settings.privacy import PrivacySettings
from strategies.ciphers import ckks
from strategies.ciphers.binding import Binding
from strategies.ciphers.cipher import ClientCipher, ServerSum
from strategies.ciphers.kahe.client_half import KaheCipher
from strategies.ciphers.kahe.client_half import new_secret as new_kahe_secret
from strategies.ciphers.kahe.parameters import SCHEME as KAHE
from strategies.ciphers.kahe.parameters import KaheParameters
from strategies.ciphers.kahe.server_half import KaheSum
from strategies.ciphers.keys import FederationKey, new_key, read_key, shared_key, write_key
from strategies.ciphers.plain import PlainCipher, PlainSum
from strategies.quantise import Blocks
from strategies.rounds import SIMULATED_AT_ONCE, RoundRules
from strategies.server_optimiser import Adam, Average, Momentum, ServerOptimiser
from strategies.share_keys import ShareKeys

Mask = NDArray[np.bool_]


def key_path(run_folder: Path) -> Path:
    """Path of the key that the clients of a simulation create."""
    return run_folder / "keys" / "federation.key"


def max_clients(settings: Settings) -> int:
    """The bound on clients that the encryption is laid out for."""
    return max(2, settings.privacy.max_clients or settings.federation.num_clients)


def make_secrets(privacy: PrivacySettings) -> dict[str, Callable[[], bytes]]:
    """Generators of the secret of each scheme, for `new_key`."""
    return {
        KAHE: new_kahe_secret,
        ckks.SCHEME: lambda: ckks.new_secret(privacy.ckks_preset),
    }


def make_share_store(settings: Settings, folder: Path, share_keys: Callable[[], ShareKeys]) -> ShareStore | None:
    """The client's records of shares; None for a cipher without shares.

    Args:
        folder: of the node.
        share_keys: reads those of the client.
    """
    return ShareStore(folder, share_keys()) if settings.privacy.cipher == KAHE else None


def client_key(settings: Settings, client: str, key_file: Path | None, *, simulated: bool) -> FederationKey | None:
    """The federation key of a node; None if nothing is encrypted.

    The clients of a simulation create the key file if it is missing. Raises SettingsError if a node was given none,
    KeyFileError for one that cannot be used."""
    privacy = settings.privacy
    if privacy.cipher == "plain":
        if key_file is not None and not simulated:
            raise SettingsError(f"{client} has a key file and does not send its update in the clear (privacy=plain)")
        return None
    if key_file is None:
        raise SettingsError(f"{client}: privacy.cipher={privacy.cipher} needs the node config key-file=PATH")
    if key_file.exists() or not simulated or privacy.key_holder == "cloud":
        return read_key(key_file)
    return shared_key(key_file, make_secrets(privacy))


def make_client_cipher(settings: Settings, statistics: Mask, *, client: str, key: FederationKey | None) -> ClientCipher:
    """The client's half of the cipher for shared values whose BatchNorm statistics are marked, (size,) bool."""
    privacy = settings.privacy
    if key is None:
        return PlainCipher(statistics.size)
    bound = max_clients(settings)
    if privacy.cipher == "ckks":
        return ckks.CkksCipher(
            key,
            statistics,
            client=client,
            max_clients=bound,
            preset=privacy.ckks_preset,
            key_holder=privacy.key_holder,
        )
    return KaheCipher(key, statistics, client=client, max_clients=bound, bits=privacy.bits, colluding=privacy.colluding)


def _cloud_key(privacy: PrivacySettings, run_folder: Path) -> FederationKey:
    """The server's half of a pair; in a simulation both halves are created in the run folder."""
    if privacy.cloud_key:
        return read_key(absolute(privacy.cloud_key))
    clients = key_path(run_folder)
    server = clients.with_name("cloud.key")
    if not server.exists():
        for key, path in zip(cloud_pair(privacy), (server, clients), strict=True):
            write_key(key, path)
    return read_key(server)


def cloud_pair(privacy: PrivacySettings) -> tuple[FederationKey, FederationKey]:
    """The keys of server and clients for `privacy.key_holder=cloud`: the clients' can only encrypt."""
    secret = ckks.new_secret(privacy.ckks_preset, public=True)
    return (
        new_key({ckks.SCHEME: lambda: secret}),
        new_key({ckks.SCHEME: lambda: ckks.without_secret(secret)}),
    )


def make_server_sum(settings: Settings, statistics: Mask, run_folder: Path) -> Callable[[Binding, str], ServerSum]:
    """Makes empty running sums, for a binding and a key id: the server's half, from public parameters alone.

    Only with `privacy.key_holder=cloud` the server has a key, in the run folder."""
    privacy, size = settings.privacy, statistics.size
    if privacy.cipher == "plain":
        return lambda binding, key_id: PlainSum(size)  # noqa: ARG005
    bound, blocks = max_clients(settings), Blocks(statistics)
    if privacy.cipher == KAHE:
        parameters = KaheParameters(blocks.digits, blocks.count, bound, privacy.bits, privacy.colluding)
        return lambda binding, key_id: KaheSum(parameters, binding, key_id)
    chosen = ckks.Parameters(size, blocks.count, bound, privacy.ckks_preset, privacy.key_holder)
    if privacy.key_holder == "cloud":
        context = _cloud_key(privacy, run_folder).secret(ckks.SCHEME)
    else:
        context = ckks.public_context(privacy.ckks_preset)
    return lambda binding, key_id: ckks.CkksSum(chosen, binding, key_id, context)


def make_server_optimiser(settings: ServerOptimiserSettings) -> ServerOptimiser:
    """The step that every client computes on the aggregate."""
    lr = settings.lr if settings.lr is not None else (0.01 if settings.name == "adam" else 1.0)
    if settings.name == "momentum":
        return Momentum(lr, settings.momentum, settings.nesterov)
    if settings.name == "adam":
        return Adam(lr, settings.beta1, settings.beta2, settings.epsilon)
    return Average(lr)


def share_authority(settings: Settings, run_folder: Path, *, simulated: bool) -> Callable[[], Ed25519PublicKey] | None:
    """Public key of who signs share keys: the federation's authority, or that of a simulation, whose clients leave it
    in the run folder before they answer: read once, at the first answer. None for a cipher without shares.
    `SiteNames.of` checks the setting.

    Raises SettingsError for a real run that names no authority."""
    if settings.privacy.cipher != KAHE:
        return None
    if settings.federation.authority:
        authority = Ed25519PublicKey.from_public_bytes(bytes.fromhex(settings.federation.authority))
        return lambda: authority
    if not simulated:
        raise SettingsError(
            f"privacy.cipher={KAHE} needs federation.authority, whose signature the sites' share keys have"
        )
    return cache(partial(simulated_authority_public, run_folder))


def make_rules(
    settings: Settings,
    *,
    task: str,
    layout: str,
    run_key: str,
    simulated: bool = False,
    share_authority: Callable[[], Ed25519PublicKey] | None = None,
    check_versions: Callable[[str, Mapping[str, Any]], None] | None = None,
) -> RoundRules:
    """The rules of a round."""
    federation = settings.federation
    return RoundRules(
        rounds=federation.rounds,
        num_clients=federation.num_clients,
        task=task,
        layout=layout,
        run_key=run_key,
        key_id="" if settings.privacy.cipher == "plain" else settings.privacy.key_id or None,
        headline=settings.measures[0],
        fraction=federation.fraction,
        weighting=federation.weighting,
        quorum=federation.quorum,
        retries=federation.retries,
        deadline=federation.deadline,
        straggler_factor=federation.straggler_factor,
        long_round=settings.data.equalise.from_round if settings.data.equalise.on else 1,
        final_seconds=_final_seconds(settings, simulated),
        start_timeout=federation.start_timeout,
        measure_every=federation.measure_every,
        min_clients=1 if settings.privacy.cipher == "plain" else 2,  # the sum of one update is that update
        max_clients=0 if settings.privacy.cipher == "plain" else max_clients(settings),
        seed=settings.seed,
        max_share=federation.max_share,
        mean_from=settings.averaged_from or 0,
        simulated=simulated,
        simulated_at_once=(settings.simulation.cpus or usable_cpus()) if simulated else 0,
        measures=settings.measures,
        share_authority=share_authority,
        check_versions=check_versions,
    )


def _final_seconds(settings: Settings, simulated: bool) -> float:
    """The wait for a client that makes a model of its own from the final one; 0 if none does. Of simulated clients
    some wait for one another, see `SIMULATED_AT_ONCE`."""
    if not settings.personalise.enabled:
        return 0.0
    seconds = settings.federation.deadline + settings.personalise.deadline
    return seconds * min(settings.federation.num_clients, SIMULATED_AT_ONCE) if simulated else seconds
