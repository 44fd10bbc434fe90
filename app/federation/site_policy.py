"""Checks of a site's policy: a run's settings, the shared arrays, and each round before it trains.

The final settings are checked, not the text of the overrides: order, deletions and groups change nothing. Files that a
run names are checked before the settings are built, because an error of those would reveal which files exist.
"""

import logging
import re
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from app.federation.dp import epsilon
from app.federation.network_size import LARGEST_OPTION, largest_option, network_size
from app.federation.policy import LARGEST_OF_TWO, Policy, PolicyFileError, read_policy
from app.federation.refusals import PolicyError
from app.settings.federation import DEFAULT_PRIVATE
from app.settings.file_keys import FILES
from app.settings.load import Settings, composed, settings_from, startable
from app.settings.plug_in_names import leaves, names_plug_in
from app.settings.weights import FILE_OPTION
from strategies.ciphers.kahe.sharing import Threshold
from strategies.shared_arrays import is_private

_log = logging.getLogger("flwr")
_FETCHED = {("pretrained", "true"), ("perceptual_weights", "imagenet")}
_OPTIONS = re.compile(r"\.(?:\w+_)?options\.")
_BACKBONE = re.compile(r"[A-Za-z0-9_.]+")  # timm takes "hf-hub:NAME" and "local-dir:PATH" too
_PLAIN = re.compile(r"[^/\\~\0]*")
_SITES_OWN = ("data.root", "data.cache_dir", "data.equalise.folder", "data.reader")
_NOT_READ_HERE = ("name", "run_dir", "evaluation.", "simulation.", "privacy.cloud_key")  # of the server and commands


@dataclass(frozen=True)
class SitePolicy:
    """The policy of one site. Each check raises PolicyError, and logs the reason at the site.

    Args:
        site: its name.
        path: the file, for the log.
    """

    site: str
    path: Path
    policy: Policy

    @classmethod
    def read(cls, site: str, path: Path) -> "SitePolicy":
        """Raises PolicyError for an unusable file; the site's log has the reason."""
        try:
            return cls(site, path, read_policy(path))
        except PolicyFileError as error:
            _log.error("%s: %s", site, error)
            raise PolicyError(f"{site}: its policy file cannot be used; the site's own log says why") from None

    def settings(self, overrides: str, own: Mapping[str, object]) -> Settings:
        """The settings of a run within the policy; `own` as for `check_files`."""
        for key in _SITES_OWN:
            if key not in own:
                self.refuse(
                    "files", f"the node config leaves {key} to the run: data, data-root and state-dir are needed"
                )
        raw = composed(overrides)
        self.check_files(raw, own)
        settings = startable(settings_from(raw, stored=False))
        self.check_run(settings)
        return self.capped(settings)

    def check_words(self, overrides: str) -> None:
        """Check a run's overrides without the node's own. Raises SettingsError for an error in them, which the server,
        their author, may read. Files are checked first here, too: overrides that conflict with the node's own must not
        bypass that check."""
        raw = composed(overrides)
        self._check_named(raw, _SITES_OWN)
        startable(settings_from(raw, stored=False))

    def refuse(self, key: str, reason: str) -> NoReturn:
        """Raise PolicyError with the key; the reason goes to the site's log."""
        _log.error("%s: refused by %s, %s: %s", self.site, self.path, key, reason)
        raise PolicyError(f"{self.site}: refused by the site's policy ({key}); the site's own log says why")

    def check_files(self, raw: Mapping[str, Any], own: Mapping[str, object]) -> None:
        """Check composed settings before they are typed: the site's paths stay its own (`own`, by dotted key), and the
        run names no file outside of the policy."""
        found = dict(leaves(raw))
        for key, value in own.items():
            if found.get(key) != value:
                self.refuse("files", f"{key} is {found.get(key)!r}, the site's own is {value!r}")
        self._check_named(raw, own)

    def _check_named(self, raw: Mapping[str, Any], own: Container[str]) -> None:
        for key, value in leaves(raw):
            if key not in own and not key.startswith(_NOT_READ_HERE):
                self._check_leaf(key, value)

    def _check_leaf(self, key: str, value: object) -> None:
        last = key.rsplit(".", 1)[-1]
        if names_plug_in(key, value) and value not in self.policy.plugins:
            self.refuse("plugins", f"{key}={value!r} is not one of {self.policy.plugins}")
        none = FILES.get(key) or FILES.get(last)
        text = str(value).lower() if last == "pretrained" else value  # `weights_of` takes "True" too
        if (last, text) in _FETCHED and not self.policy.files.fetch_weights:
            self.refuse("files.fetch_weights", f"{key}={value}")
        options = _OPTIONS.split(key, maxsplit=1)[-1].split(".") if _OPTIONS.search(key) else []
        if any(FILE_OPTION.fullmatch(part) for part in options):
            self.refuse("files.weights", f"{key} may name a file or an address")
        if last == "backbone" and not _BACKBONE.fullmatch(str(value)) and value not in self.policy.plugins:
            self.refuse("files.weights", f"{key}={value!r} is no plain name of a model")
        if none is not None and isinstance(value, str):
            if text not in none and not self.policy.files.allows(value):
                self.refuse("files.weights", f"{key}={value!r} is not below {self.policy.files.weights}")
        elif isinstance(value, str) and (not _PLAIN.fullmatch(value) or ".." in value):
            self.refuse("files.weights", f"{key}={value!r} may name a file")

    def check_run(self, settings: Settings) -> None:
        """Check the final settings: task, cipher, holder of the key, and differential privacy."""
        allowed, privacy = self.policy.privacy, settings.privacy
        if self.policy.tasks and settings.task not in self.policy.tasks:
            self.refuse("tasks", f"task={settings.task}, allowed {self.policy.tasks}")
        if privacy.cipher not in allowed.ciphers:
            self.refuse("privacy.ciphers", f"privacy.cipher={privacy.cipher}, allowed {allowed.ciphers}")
        if privacy.key_holder not in allowed.key_holders:
            self.refuse("privacy.key_holders", f"privacy.key_holder={privacy.key_holder}")
        self._check_dp(settings)
        self._check_sizes(settings)

    def _check_dp(self, settings: Settings) -> None:
        least, given = self.policy.privacy.dp, settings.privacy.dp
        if least is None:
            return
        if not 0 < given.clip <= least.clip:
            self.refuse("privacy.dp.clip", f"privacy.dp.clip={given.clip}, at most {least.clip}")
        if not given.noise_multiplier >= least.noise_multiplier:
            self.refuse("privacy.dp.noise_multiplier", f"{given.noise_multiplier}, at least {least.noise_multiplier}")
        if not given.delta <= least.delta:
            self.refuse("privacy.dp.delta", f"{given.delta}, at most {least.delta}")
        if least.epsilon is not None:
            spent = epsilon(given, settings.federation.rounds)
            if not spent <= least.epsilon:
                self.refuse("privacy.dp.epsilon", f"{spent:.2f} over all rounds, at most {least.epsilon}")

    def _check_sizes(self, settings: Settings) -> None:
        """Check the settings that could fill the memory or the disk of the site and cannot be cut without changing the
        run."""
        most, train, equalise = self.policy.resources, settings.train, settings.data.equalise
        by_vehicle = train.pids_per_batch * train.images_per_pid
        target = equalise.target if isinstance(equalise.target, int) else 0  # a rule follows the site's own counts
        for name, limit, asked in (
            ("batch_size", most.batch_size, max(train.batch_size, by_vehicle, settings.evaluation.batch_size)),
            ("equalise_target", most.equalise_target, target),
            ("equalise_candidates", most.equalise_candidates, equalise.candidates),
            ("embedding_dim", most.embedding_dim, getattr(settings.model, "embedding_dim", 0)),
            ("embedding_dim", most.embedding_dim, getattr(settings.model, "dim", 0)),
        ):
            if asked > limit:
                self.refuse(f"resources.{name}", f"the run asks for {asked}, at most {limit}")
        self._check_network(settings)

    def _check_network(self, settings: Settings) -> None:
        """The memory of the network, before any of it is allocated."""
        most = self.policy.resources
        if (option := largest_option(settings)) > LARGEST_OPTION:
            self.refuse("resources.network_mb", f"an option of the backbone is {option:g}, at most {LARGEST_OPTION}")
        try:
            size = network_size(settings)
        except Exception as error:  # timm's code raises anything for odd options
            self.refuse("resources.network_mb", f"the network cannot be measured: {error}")
        for name, limit, asked, unit in (
            ("embedding_dim", most.embedding_dim, size.embedding_dim, ""),
            ("network_mb", most.network_mb, size.parameters, " MiB"),
            ("activations_mb", most.activations_mb, size.activations, " MiB"),
        ):
            if asked > limit:
                self.refuse(f"resources.{name}", f"the run asks for {asked:,.0f}{unit}, at most {limit:,}")

    def capped(self, settings: Settings) -> Settings:
        """The settings with resources and epsilon cut to the policy's limits: the node's ledger counts epsilon over all
        its runs."""
        most, data, train, privacy = self.policy.resources, settings.data, settings.train, settings.privacy
        if self.policy.privacy.dp is not None and (limit := self.policy.privacy.dp.epsilon) is not None:
            dp = replace(privacy.dp, epsilon=min(privacy.dp.epsilon or limit, limit))
            privacy = replace(privacy, dp=dp)
        threads = train.threads
        if most.threads:
            threads = min(threads or most.threads, most.threads)
        return replace(
            settings,
            data=replace(
                data,
                workers=min(data.workers, most.workers),
                cache_mb=min(data.cache_mb, most.cache_mb),
                cache_dir_mb=min(data.cache_dir_mb, most.cache_dir_mb),
            ),
            train=replace(train, threads=threads),
            privacy=privacy,
        )

    def check_update(self, names: Iterable[str], network: Collection[str], key_id: str) -> None:
        """Check a client's update: none of the arrays that must stay, and nothing in the clear.

        Args:
            names: of the shared arrays.
            network: names of all arrays. A pattern of the site that matches none of them would have no effect: it was
                written for another network.
            key_id: of the cipher; "" for one without encryption.
        """
        if not key_id and "plain" not in self.policy.privacy.ciphers:
            self.refuse("privacy.ciphers", "the update would leave in the clear")
        for pattern in self.policy.privacy.private:
            if pattern not in DEFAULT_PRIVATE and not any(_stays(name, [pattern]) for name in network):
                self.refuse("privacy.private", f"{pattern!r} matches no array of the run's network")
        leaving = [name for name in names if _stays(name, self.policy.privacy.private)]
        if leaving:
            self.refuse("privacy.private", f"the run shares {', '.join(leaving[:10])}")

    def check_round(
        self,
        cohort: Sequence[object],
        coefficient: object,
        clients: Collection[object] = (),
        colluding: int | None = None,
    ) -> None:
        """Check one attempt, before training: the site among enough different clients, with at most its largest share,
        and no fewer tolerated as colluding than a third of the others.

        Args:
            coefficient: of this site; None without an update.
            clients: of the cohort, those in the sum that this site is asked to open; empty before there is one.
            colluding: as the run tolerates under `kahe`; None for a third.
        """
        rules = self.policy.cohort
        names = [name for name in cohort if isinstance(name, str) and name]
        if len(names) != len(cohort) or len(set(names)) != len(names):
            self.refuse("cohort.least", f"the cohort is malformed: {list(cohort)}")
        if self.site not in names:
            self.refuse("cohort.least", f"this site is not in the cohort {names}")
        left = set(names) & set(clients) if clients else set(names)
        if len(left) < rules.least:
            self.refuse("cohort.least", f"{len(left)} clients ({', '.join(sorted(left))}), at least {rules.least}")
        if colluding is not None and colluding < (third := Threshold(len(names)).tolerated):
            self.refuse("privacy.colluding", f"privacy.colluding={colluding}, at least {third} of {len(names)} clients")
        most = rules.largest_share if len(names) > 2 else max(rules.largest_share, LARGEST_OF_TWO)
        if coefficient is not None and not (isinstance(coefficient, float) and 0 < coefficient <= most):
            self.refuse("cohort.largest_share", f"the share is {coefficient!r}, at most {most}")


def _stays(name: str, patterns: Sequence[str]) -> bool:
    """Whether a pattern matches an array, or the weight whose values it holds in buckets (`model.hashed`)."""
    layer, dot, last = name.rpartition(".")
    unhashed = f"{layer}{dot}weight" if last == "buckets" else name
    return is_private(name, patterns) or is_private(unhashed, patterns)
