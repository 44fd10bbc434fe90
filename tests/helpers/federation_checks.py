"""Checks of whole federations: messages by kind, two runs side by side, and a power cut."""

import csv
import json
import shutil

import numpy as np

from strategies import messages as m


class PowerCutError(BaseException):
    """Ends the server wherever it is, as a crash would."""


def kind_of(message):
    """("train", 3) for a training message of round 3."""
    return message.metadata.message_type, message.content[m.CONFIG][m.SERVER_ROUND]


def seen_models(run):
    """A tamper that keeps every version's values by client, and what it keeps."""
    seen = {}

    def look(_, reply):
        for name, store in run.stores().items():
            for version in store.rounds("global"):
                seen.setdefault((name, version), store.read("global", version)[0]["vector"])
        return reply

    return look, seen


def power_cut_at(kind, server_round=None):
    """A tamper that ends the server at the first reply of this kind, of one round or of any."""

    def cut(message, reply):
        if message.metadata.message_type == kind and server_round in (None, kind_of(message)[1]):
            raise PowerCutError
        return reply

    return cut


def replies(federation, kind):
    """Good replies of a kind by round and client."""
    sent = {message.metadata.message_id: message for message in federation.grid.sent}
    return {
        (kind_of(sent[reply.metadata.reply_to_message_id])[1], reply.content[m.INFO][m.CLIENT]): reply
        for reply in federation.grid.received
        if reply.metadata.message_type == kind and not reply.has_error()
    }


def assert_same_arrays(first, second):
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def assert_same_run(first, second):
    """Bit for bit: global and private arrays, optimiser moments, aggregates, metrics."""
    for kind in ("global", "private", "local"):
        ours, theirs = first.held(kind), second.held(kind)
        assert ours.keys() == theirs.keys()
        for client in ours:
            assert_same_arrays(ours[client], theirs[client])
    assert first.checkpoint() == second.checkpoint()
    assert first.lines() == second.lines()


def divide(root, folder):
    """A manifest set a site, with that site's rows and images alone; the folders by site."""
    with (root / "manifest.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    parts = {}
    for site in sorted({row["site"] for row in rows}):
        parts[site] = folder / f"pictures-{site}"
        parts[site].mkdir(parents=True)
        own = [row for row in rows if row["site"] == site]
        for row in own:
            shutil.copy(root / row["path"], parts[site])
        with (parts[site] / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(own)
    return parts


def rounds_in(folder):
    """Rounds that a run folder has metrics of."""
    path = folder.path / "metrics.jsonl"
    return [json.loads(line)["server_round"] for line in path.read_text().splitlines()] if path.exists() else []
