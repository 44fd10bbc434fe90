"""Personal models in a node's store: all arrays of the network without heads, and the figures of the choice."""

import json
from collections.abc import Mapping

from app.core.node_store import NodeStore, NodeStoreError
from app.experiment.personalise import Personal

KIND = "personalised"
_ARRAY = "array/"


def write_personal(store: NodeStore, server_round: int, personal: Personal, about: Mapping[str, str]) -> None:
    """Keep the personal model of a round.

    Args:
        about: digest of the layout, and the "key" of everything that the model depends on.
    """
    arrays = {f"{_ARRAY}{name}": array for name, array in personal.arrays.items()}
    store.write(KIND, server_round, arrays, {**about, "report": json.dumps(personal.report)})


def read_personal(store: NodeStore, server_round: int) -> Personal | None:
    """The personal model of a round, without heads, and its report; None if the store has none.

    Raises NodeStoreError for a damaged file."""
    if server_round not in store.rounds(KIND):
        return None
    arrays, about = store.read(KIND, server_round)
    try:
        report = json.loads(about["report"])
    except (KeyError, ValueError) as error:
        raise NodeStoreError(f"{store.folder}: the personal model of round {server_round} is damaged") from error
    return Personal({name.removeprefix(_ARRAY): array for name, array in arrays.items()}, report)


def held_key(store: NodeStore, server_round: int) -> str | None:
    """The key that the personal model of a round was made with; None without one, or if the file is damaged."""
    try:
        return store.metadata(KIND, server_round).get("key") if server_round in store.rounds(KIND) else None
    except NodeStoreError:  # damaged: made anew
        return None
