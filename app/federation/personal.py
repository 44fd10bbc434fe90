"""Personal model of a node: made once the final global model is there, and kept in the node's store.

Nothing of it travels: neither weights nor figures are in a reply.
"""

import hashlib
import json
import logging
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from app.core.arrays import Arrays
from app.core.files import replacing
from app.core.node_store import OutdatedAttemptError, digest_of
from app.experiment.held_out import HeldOut
from app.experiment.personal_store import held_key, write_personal
from app.experiment.personalise import ALONE, AVERAGE, GLOBAL, LOCAL, personalise
from app.experiment.training_alone import KeptTraining
from app.settings.load import Settings
from models.errors import FedVehicleReidError

if TYPE_CHECKING:
    from app.federation.client import TaskClient

HELD_OUT = "held_out.txt"
"""In a node's store: digest of what its first training left out."""


class HeldOutError(FedVehicleReidError, RuntimeError):
    """What a personal model would be chosen by has been trained on."""


_log = logging.getLogger("flwr")


def keep_personal(client: "TaskClient", held_out: HeldOut, server_round: int, attempt: str) -> None:
    """Make the personal model of a client that has the final global model, unless its store has the one of these
    inputs: a node that was stopped meanwhile starts again with the next final message.

    An error is logged at the site: the run goes on, with the global model."""
    try:
        _require_kept_out(client, held_out)
        models = _models(client, server_round)
        key, keeping = _key(client, held_out, models), partial(client.store.keeping, attempt)
        kept = KeptTraining(client.store, _key_alone(client, held_out), keeping)
        if held_key(client.store, server_round) != key:
            personal = personalise(client.task, client.settings, held_out, models, client.name, kept)
            about = {"layout": client.layout.digest, "key": key}
            with keeping():
                try:
                    write_personal(client.store, server_round, personal, about)
                except OSError as error:  # a full disk, where the model trained alone takes more room
                    _log.warning("%s: the model trained alone gives way to the personal one: %s", client.name, error)
                    kept.drop()
                    write_personal(client.store, server_round, personal, about)
            _log.info("%s: personal model: %s", client.name, sentence(personal.report))
        with keeping():
            kept.drop()
    except OutdatedAttemptError:
        raise
    except Exception as error:  # a by-product: the measures of the global model must not be lost over it
        known = isinstance(error, (FedVehicleReidError, OSError))
        _log.warning("%s: no personal model, the global one stays: %s", client.name, error, exc_info=not known)


def note_held_out(client: "TaskClient", held_out: HeldOut | None) -> None:
    """Note at a node's first training what is kept out of it; nothing is noted again."""
    path = client.store.folder / HELD_OUT
    if not path.exists():
        noted = _held(held_out) if not client.store.rounds("private") else ""
        with replacing(path) as temporary:  # half of it would refuse personal models for ever
            temporary.write_text(noted, encoding="utf-8")


def _held(held_out: HeldOut | None) -> str:
    paths = sorted({f"{s.path} {s.pid}" for each in (held_out.directions if held_out else ()) for s in each.query})
    return hashlib.sha256("\n".join(paths).encode("utf-8", "surrogateescape")).hexdigest()


def _require_kept_out(client: "TaskClient", held_out: HeldOut) -> None:
    """Raise HeldOutError if this run has trained on what is now to choose by: images have come or gone since its first
    round, or it began without personal models."""
    path, own = client.store.folder / HELD_OUT, not client.settings.data.val_split
    trained = bool(client.store.rounds("private"))
    if own and trained and (not path.exists() or path.read_text(encoding="utf-8") != _held(held_out)):
        raise HeldOutError("the vehicles to choose by are not those that were kept out since its first round")


def sentence(report: dict[str, Any]) -> str:
    """What was chosen, and why, for a log."""
    if report["chosen"] == GLOBAL:
        return f"the global one ({report['reason']})"
    gain = f"{100 * report[GLOBAL]:.1f} % to {100 * report['score']:.1f} %"
    alone = f", {100 * report[ALONE]:.1f} % alone" if ALONE in report else ""
    return f"{report['chosen']} ({report['measure']} {gain}{alone}, on {report['vehicles']} held-out vehicles)"


def _models(client: "TaskClient", server_round: int) -> dict[str, Arrays]:
    """The final global model and the client's copy of its last round, each with the client's newest private arrays."""
    store, layout = client.store, client.layout
    own, _ = client.kept.own(server_round + 1) or ({}, {})
    if not own:  # a site that never trained: the arrays that the network starts with, heads aside
        initial = client.initial_arrays()
        own = {name: array for name, array in initial.items() if name not in layout.names}
    model, federation = client.models.read(server_round), client.settings.federation
    models = {GLOBAL: {**layout.unflatten(model.result(federation)), **own}}
    if model.mean is not None and not federation.averages:
        models[AVERAGE] = {**layout.unflatten(model.mean.vector), **own}
    if held := [each for each in store.rounds("local") if each <= server_round]:
        vector = store.read("local", held[-1])[0]["vector"]
        models[LOCAL] = {**layout.unflatten(vector), **own}
    return models


def _key(client: "TaskClient", held_out: HeldOut, models: dict[str, Arrays]) -> str:
    """Digest of everything that decides on the personal model."""
    settings = client.settings
    images = [[str(sample.path), sample.pid] for sample in held_out.samples]
    chosen_by = [[str(s.path), s.pid] for each in held_out.directions for s in (*each.query, *each.gallery)]
    depends = [
        {name: digest_of(arrays) for name, arrays in models.items()},
        [asdict(each) for each in (replace(settings.personalise, deadline=0.0), *_trained_by(settings))],
        asdict(settings.data.made_plates),
        [settings.seed, client.name, images, chosen_by],
    ]
    return hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:16]


def _key_alone(client: "TaskClient", held_out: HeldOut) -> str:
    """Digest of everything that decides on the model trained alone: neither on a round nor on the choice."""
    settings = client.settings
    samples = [asdict(sample) for sample in client.task.learnable(held_out.samples)]
    # Neither what it is measured on nor how images are read and where copies of them lie.
    data = replace(settings.data, val_split="", eval_split="test", workers=0, cache_mb=0, cache_dir="", cache_dir_mb=0)
    data = replace(data, equalise=replace(data.equalise, folder="."))
    depends = [*map(asdict, (data, *_trained_by(settings))), settings.federation.private, settings.seed]
    words = json.dumps([depends, client.name, samples], sort_keys=True, default=str)
    return hashlib.sha256(words.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _trained_by(settings: Settings) -> tuple[Any, ...]:
    """Sections that decide on what a client trains. How many threads it has, it may change at any time."""
    return replace(settings.train, threads=0), settings.loss, settings.model
