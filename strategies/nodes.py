"""Nodes as the server knows them: their descriptions, and the global models that they hold."""

import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from models.errors import FedVehicleReidError
from strategies import messages as m
from strategies.claims import MAX_EXAMPLES
from strategies.client_names import name_fault
from strategies.share_keys import Members, ShareKeyError, ShareKeyRules

_LONGEST = 100  # characters of a value that is shown
_MOST_HELD = 16  # global models that a node names
_DIGEST = re.compile(r"\w{1,64}", re.ASCII)


class RefusedError(FedVehicleReidError, ValueError):
    """A node that cannot take part; the message names the difference."""


@dataclass(frozen=True)
class Node:
    """One connected node, as it described itself."""

    node_id: int
    client: str
    num_examples: int
    held: Mapping[int, str]
    """Version of the global model (number of aggregates applied) -> digest of its values."""
    num_nodes: int = 0
    """Number of nodes as claimed by a node; believed in simulation only."""
    statement: str = ""
    """The authority's statement of its share key, for the other clients; "" for a cipher without shares."""
    share_key: bytes = b""
    """The public key that the statement names."""


def read_node(
    node_id: int,
    info: Mapping[str, Any],
    *,
    task: str,
    layout: str,
    key_id: str,
    share_keys: ShareKeyRules | None = None,
) -> Node:
    """A node from its answer.

    Args:
        share_keys: rules for the statement of its share key; None for a cipher without shares.

    Raises RefusedError if its task, layout or key is another, its share key is not valid, or the answer is malformed.
    """
    for key, expected in ((m.TASK, task), (m.LAYOUT, layout), (m.KEY_ID, key_id)):
        if info.get(key) != expected:
            raise RefusedError(f"{key} {info.get(key)!r} instead of {expected!r}")
    client, examples = info.get(m.CLIENT), info.get(m.NUM_EXAMPLES)
    rounds, digests = info.get(m.HELD_ROUNDS), info.get(m.HELD_DIGESTS)
    if not isinstance(client, str):
        raise RefusedError(f"{m.CLIENT} is {_shown(client)}")
    if fault := name_fault(client):
        raise RefusedError(f"{m.CLIENT} is {_shown(client)}: it {fault}")
    if not _is_count(examples):
        raise RefusedError(f"{m.NUM_EXAMPLES} is {_shown(examples)}")
    if examples > MAX_EXAMPLES:
        raise RefusedError(f"{m.NUM_EXAMPLES} is {_shown(examples)}, at most {MAX_EXAMPLES} are believed")
    if not isinstance(rounds, list) or not isinstance(digests, list) or not len(rounds) == len(digests) <= _MOST_HELD:
        raise RefusedError("held models are malformed")
    versions = [version for version in rounds if _is_whole(version)]
    if len(set(versions)) != len(rounds):
        raise RefusedError("held models are malformed")
    named = [digest for digest in digests if isinstance(digest, str) and _DIGEST.fullmatch(digest)]
    if len(named) != len(digests):
        raise RefusedError("digests of held models are malformed")
    held = dict(zip(versions, named, strict=True))
    num_nodes = info.get(m.NUM_NODES, 0)
    statement, share_key = ("", b"") if share_keys is None else _share_key(client, info, share_keys)
    return Node(node_id, client, examples, held, num_nodes if _is_count(num_nodes) else 0, statement, share_key)


def _share_key(client: str, info: Mapping[str, Any], rules: ShareKeyRules) -> tuple[str, bytes]:
    """A node's statement and the public key in it. Raises RefusedError unless it is a valid one of this client."""
    if not (text := info.get(m.SHARE_KEY)):
        raise RefusedError("it shows no statement of its share key, without which it cannot take part")
    try:
        found = rules.statement(text, time.time())
    except ShareKeyError as error:
        raise RefusedError(str(error)) from error
    if found.site != client:
        raise RefusedError(f"it shows the share key of {found.site!r}")
    return text, found.public


def share_key_digest(cohort: Iterable[Node]) -> str:
    """`Members.digest` of these nodes; "" if the cipher has no shares."""
    keys = {node.client: node.share_key for node in cohort if node.share_key}
    return Members(keys).digest if keys else ""


def _is_count(value: object) -> TypeGuard[int]:
    """Whether it is a whole number from 1 on."""
    return _is_whole(value) and value >= 1


def _is_whole(value: object) -> TypeGuard[int]:
    """Whether it is a whole number from 0 on; True is an int to isinstance."""
    return type(value) is int and value >= 0


def _shown(value: object) -> str:
    text = repr(value[: _LONGEST + 1] if isinstance(value, str | bytes) else value)  # it may be of any length
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def agreed_digests(nodes: Iterable[Node]) -> dict[int, str]:
    """The majority digest of each version, among the nodes that hold the version.

    A version without one is left out: one node that claims another model must not win by a tie. Version 0 has the most
    frequent digest, the smallest of several: processors of different kinds round the starting values differently, and a
    node accepts only a start that differs from its own by rounding (`GlobalModels.reach`)."""
    agreed = {}
    for version, count in _votes(nodes).items():
        digest, number = min(count.items(), key=lambda row: (-row[1], row[0]))
        if version == 0 or 2 * number > count.total():
            agreed[version] = digest
    return agreed


def disagreement(nodes: Iterable[Node], version: int) -> str:
    """Digests by node of a version without a majority digest; "" with a majority, or if no node has the version."""
    holders = sorted((node for node in nodes if version in node.held), key=lambda node: node.client)
    if not holders or version in agreed_digests(holders):
        return ""
    rows = ", ".join(f"{node.client} {_shown(node.held[version])}" for node in holders)
    return f"the nodes disagree about global model {version}, and no digest has more than half of them: {rows}"


def _votes(nodes: Iterable[Node]) -> dict[int, Counter[str]]:
    votes: dict[int, Counter[str]] = {}
    for node in nodes:
        for version, digest in node.held.items():
            votes.setdefault(version, Counter())[digest] += 1
    return votes
