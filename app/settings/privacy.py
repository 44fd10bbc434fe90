"""Settings section `privacy`: encryption and differential privacy."""

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field

from app.settings.checks import SettingsError
from app.settings.section import NotNegative, section
from strategies.ciphers.limits import MAX_CLIENTS

PACKED_BFV = (
    "privacy.cipher=packed_bfv is retired: leave it out for the default, privacy=kahe, under which nobody can open one "
    "client's update, at no more bytes; a run that began with packed_bfv goes on with the version that began it"
)
_MASKING = (
    "privacy.masking is retired: leave it out; the default, privacy=kahe, does what pairwise masks did, also against a "
    "server that cheats"
)


def retired(privacy: object) -> str:
    """The remedy for a value of this section that only earlier versions had; "" if there is none."""
    if not isinstance(privacy, Mapping):
        return ""
    if privacy.get("cipher") == "packed_bfv":
        return PACKED_BFV
    return _MASKING if "masking" in privacy else ""


@section("privacy.dp")
class DpSettings:
    """Differential privacy of a client's update; see `app.federation.dp`.

    Args:
        clip: largest Euclidean norm of an update, 0 for no differential privacy. Running statistics of BatchNorm cause
            large norms: `federation.batch_norm=local` keeps them out.
        noise_multiplier: standard deviation of the noise in each value, as a multiple of `clip`.
        delta: for which epsilon is computed.
        epsilon: limit of a node, over all its runs; an update beyond it is not sent. 0 for no limit: epsilon is then
            reported and not enforced.
    """

    clip: NotNegative = 0.0
    noise_multiplier: NotNegative = 1.0
    delta: Annotated[float, Field(ge=1e-12, le=0.5)] = 1e-5
    epsilon: NotNegative = 0.0

    def __post_init__(self) -> None:
        if self.epsilon and not (self.clip and self.noise_multiplier):
            raise SettingsError("privacy.dp.epsilon needs privacy.dp.clip and privacy.dp.noise_multiplier above 0")


@section("privacy")
class PrivacySettings:
    """Encryption of updates.

    Args:
        cipher: "kahe" (exact encrypted sums, of which nobody can open one client's update), "ckks" (the patent's,
            approximate) or "plain".
        max_clients: clients of a round that the encryption is laid out for, at most; 0 for `federation.num_clients`.
            With "kahe" up to 8 cost 2.3 bytes a value up and down, 9 to 64 cost 2.7.
        bits: of "kahe": precision of a weighted update's values; more are used if they cost nothing.
        colluding: of "kahe": clients in league with the server that a round withstands; null for a third of the others.
            More of them need more of a cohort in each sum.
        key_id: the federation key that clients must hold; "" takes the key of most of the first ones.
        ckks_preset: "compact" (4096, [32, 32]), or "flare" and "tutorial" (8192) for comparison.
        dp: differential privacy on top.
        key_holder: of "ckks": "client", or "cloud" for a server that decrypts the sum.
        cloud_key: the server's key file with `key_holder=cloud`; a simulation creates one.
    """

    cipher: Literal["kahe", "ckks", "plain"] = "kahe"
    max_clients: Annotated[int, Field(ge=0, le=MAX_CLIENTS)] = 0
    bits: Annotated[int, Field(ge=4, le=16)] = 12
    colluding: Annotated[int, Field(ge=0)] | None = None
    key_id: str = ""
    ckks_preset: Literal["compact", "flare", "tutorial"] = "compact"
    key_holder: Literal["client", "cloud"] = "client"
    cloud_key: str = ""
    dp: DpSettings = field(default_factory=DpSettings)

    def __post_init__(self) -> None:
        if self.key_holder == "cloud" and self.cipher != "ckks":
            raise SettingsError("privacy.key_holder=cloud is for privacy.cipher=ckks alone")
        if self.colluding is not None and self.cipher != "kahe":
            raise SettingsError("privacy.colluding is for privacy.cipher=kahe alone")
