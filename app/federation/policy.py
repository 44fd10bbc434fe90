"""Policy file of a site: limits that no run config can weaken. TOML, read strictly.

The node config names the file (`policy=PATH`), never the run config. `SitePolicy` applies it.
"""

import logging
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from app.settings.federation import DEFAULT_PRIVATE
from app.settings.load import absolute
from app.settings.tasks import TASKS
from app.settings.toml_file import TomlSection, read_toml
from models.errors import FedVehicleReidError
from models.plugins import is_plug_in

_log = logging.getLogger("flwr")
POLICY_FORMAT = 1
_Names = Annotated[list[str], Field(default_factory=list)]
LARGEST_OF_TWO = 0.99
_Patterns = Annotated[list[Annotated[str, Field(min_length=1)]], Field(default_factory=lambda: [*DEFAULT_PRIVATE])]


class PolicyFileError(FedVehicleReidError, ValueError):
    """A policy file that is missing or cannot be read; the message names the file and the key."""


class DpPolicy(TomlSection):
    """Least differential privacy of a run.

    Args:
        clip: largest norm that an update may be clipped to.
        noise_multiplier: smallest noise, as a multiple of the clip norm.
        epsilon: largest epsilon of the rounds of a run, and of all updates of this site over all runs, at the run's
            delta; null for no limit.
        delta: largest delta at which a run may state its epsilon.
    """

    clip: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    noise_multiplier: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    epsilon: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-5


class PrivacyPolicy(TomlSection):
    """Limits on the transport of updates, and on the arrays that are shared.

    Args:
        ciphers: allowed ciphers.
        key_holders: allowed key holders; "cloud" lets the server decrypt sums.
        private: name patterns of arrays that a run must keep private, besides its own patterns. A run is refused if one
            of them, except `DEFAULT_PRIVATE`, matches nothing in its network, as not every task has classifiers.
        dp: least differential privacy; null leaves it to the run.
    """

    ciphers: list[Literal["kahe", "ckks", "plain"]] = Field(min_length=1, default=["kahe"])
    key_holders: list[Literal["client", "cloud"]] = Field(min_length=1, default=["client"])
    private: _Patterns
    dp: DpPolicy | None = None


class CohortPolicy(TomlSection):
    """Least cohort of a round.

    Args:
        least: clients of a round, this one included, and of a sum that the site opens.
        largest_share: of one client in the sum; the coefficient of this site may not exceed it. In a round of two each
            learns the other's update from the sum at any share, so that `LARGEST_OF_TWO` replaces a smaller value.
    """

    least: Annotated[int, Field(ge=2)] = 2
    largest_share: Annotated[float, Field(gt=0, lt=1)] = 0.9


class FilePolicy(TomlSection):
    """Files that a run config may name.

    Args:
        weights: files, or folders of files, from which a network may start; absolute paths.
        fetch_weights: whether a run may make the site download published weights of a model by its name.
    """

    weights: _Names
    fetch_weights: bool = True

    @field_validator("weights")
    @classmethod
    def _absolute(cls, weights: list[str]) -> list[str]:
        for path in weights:
            if not Path(path).is_absolute():
                raise ValueError(f"{path!r} is no absolute path")
        return weights

    def allows(self, path: str) -> bool:
        """Whether a file, its links resolved, is one of `weights` or lies in a folder of them."""
        found = absolute(path)
        return any(found.is_relative_to(absolute(allowed)) for allowed in self.weights)


class ResourcePolicy(TomlSection):
    """Largest resources of a run on this machine. 0 threads for no limit.

    Args:
        workers, threads: loader processes and CPU threads; a run that asks for more gets this.
        cache_mb, cache_dir_mb: decoded images in memory and on disk, MiB; a run that asks for more gets this.
        batch_size: images at once, in training or evaluation; a run that asks for more is refused, as a smaller batch
            would change the training.
        equalise_target, equalise_candidates: largest target and candidates of `data.equalise`; a run that asks for more
            is refused.
        embedding_dim: values of an embedding, and width of a reader of plates; a run that asks for more is refused.
        network_mb, activations_mb: MiB of the network's parameters, and of the outputs of its layers for a batch, see
            `network_size`; a run that asks for more is refused before a network is built.
    """

    workers: Annotated[int, Field(ge=0)] = 8
    threads: Annotated[int, Field(ge=0)] = 0
    cache_mb: Annotated[int, Field(ge=0)] = 4096
    cache_dir_mb: Annotated[int, Field(ge=0)] = 16384
    batch_size: Annotated[int, Field(ge=1)] = 1024
    equalise_target: Annotated[int, Field(ge=1)] = 1000
    equalise_candidates: Annotated[int, Field(ge=1)] = 20
    embedding_dim: Annotated[int, Field(ge=1)] = 4096
    network_mb: Annotated[int, Field(ge=1)] = 2048
    activations_mb: Annotated[int, Field(ge=1)] = 65536


class Policy(TomlSection):
    """All sections of the file.

    Args:
        tasks: the allowed ones; empty for every task.
        plugins: parts of other packages that a run may use, as it names them: code of the site's own machine, which no
            run may start unasked.
    """

    format: Literal[1]
    tasks: _Names
    privacy: Annotated[PrivacyPolicy, Field(default_factory=PrivacyPolicy)]
    cohort: Annotated[CohortPolicy, Field(default_factory=CohortPolicy)]
    plugins: _Names
    files: Annotated[FilePolicy, Field(default_factory=FilePolicy)]
    resources: Annotated[ResourcePolicy, Field(default_factory=ResourcePolicy)]

    @field_validator("tasks")
    @classmethod
    def _known(cls, tasks: list[str]) -> list[str]:
        for task in tasks:
            if task not in TASKS and not is_plug_in("tasks", task):
                raise ValueError(f"{task!r} is none of {', '.join(TASKS)}")
        return tasks


def read_policy(path: Path) -> Policy:
    """The policy of a file. Raises PolicyFileError naming the file, and the key that is unknown or wrong."""
    return read_toml(path, Policy, PolicyFileError, kind="policy file", renewed=partial(_renewed, path))


def _renewed(path: Path, fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a file with what is retired: "packed_bfv" is taken as "kahe", which protects more, and of the
    ciphers "kahe" alone does what `masking = "pairwise"` asked for. One line of the log says so."""
    privacy = fields.get("privacy")
    if not isinstance(privacy, dict):
        return fields
    privacy, said = dict(privacy), []
    ciphers = privacy.get("ciphers", ["kahe"])
    if isinstance(ciphers, list) and "packed_bfv" in ciphers:
        ciphers = privacy["ciphers"] = ["kahe" if each == "packed_bfv" else each for each in ciphers]
        said.append('"packed_bfv" in ciphers is taken as "kahe"')
    if "masking" in privacy:
        asked = privacy.pop("masking")
        if asked == "pairwise" and "kahe" in ciphers:
            privacy["ciphers"] = ["kahe"]
            said.append('masking = "pairwise" allows "kahe" alone')
        elif asked == "none":
            said.append('masking = "none" is ignored')
        else:
            raise PolicyFileError(f'policy file {path}: privacy.masking is retired: remove it, with ciphers = ["kahe"]')
    if said:
        _log.warning(
            "policy file %s, section privacy, is of an earlier version: %s; change the file", path, ", ".join(said)
        )
    return {**fields, "privacy": privacy}
