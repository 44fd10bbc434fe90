"""Settings section `privacy`: encryption, masks and differential privacy."""

from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field

from app.settings.checks import SettingsError
from app.settings.section import NotNegative, section
from strategies.ciphers.limits import MAX_CLIENTS


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
        cipher: "kahe" (exact encrypted sums, of which nobody can open one client's update), "packed_bfv" (exact sums
            alone), "ckks" (the patent's, approximate) or "plain".
        max_clients: clients of a round that the encryption is laid out for, at most; 0 for `federation.num_clients`.
            With "packed_bfv" up to 8 cost 2.3 bytes a value up and 2.3 down, 9 to 64 cost 3.4 up and 6.8 down; with
            "kahe" up to 8 cost 2.3, 9 to 64 cost 2.7.
        bits: precision of a weighted update's values in "packed_bfv" and "kahe"; more are used if they cost nothing.
        masking: "none", or "pairwise" for masks that cancel in the sum of three clients or more ("packed_bfv" alone).
        colluding: of "kahe": clients in league with the server that a round withstands; null for a third of the others.
            More of them need more of a cohort in each sum.
        key_id: the federation key that clients must hold; "" takes the key of most of the first ones.
        ckks_preset: "compact" (4096, [32, 32]), or "flare" and "tutorial" (8192) for comparison.
        dp: differential privacy on top.
        key_holder: of "ckks": "client", or "cloud" for a server that decrypts the sum.
        cloud_key: the server's key file with `key_holder=cloud`; a simulation creates one.
    """

    cipher: Literal["packed_bfv", "kahe", "ckks", "plain"] = "kahe"
    max_clients: Annotated[int, Field(ge=0, le=MAX_CLIENTS)] = 0
    bits: Annotated[int, Field(ge=4, le=16)] = 12
    masking: Literal["none", "pairwise"] = "none"
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
        if self.masking != "none" and self.cipher != "packed_bfv":
            raise SettingsError("privacy.masking needs the exact sums of privacy.cipher=packed_bfv")
