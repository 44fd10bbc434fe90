"""Clients with handwritten replies, and a federation of them, for the round loop."""

from dataclasses import replace

import numpy as np
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from in_process_grid import InProcessGrid

from strategies import messages as m
from strategies.ciphers.binding import Binding
from strategies.ciphers.plain import PlainCipher, PlainSum
from strategies.partial_sync import PartialSync
from strategies.rounds import Convergence, RoundRules, ServerState

SIZE = 3
CIPHER = PlainCipher(SIZE)
BINDING = Binding("0" * 16, "layout", 1)


def encrypt(vector, coefficient):
    return CIPHER.encrypt(vector, coefficient, BINDING, state={}, carried={}).payload


def decrypt(payload, coefficient_sum):
    return CIPHER.decrypt(payload, coefficient_sum, BINDING, state={}).mean


RULES = RoundRules(
    rounds=3,
    num_clients=3,
    task="dual_reid",
    layout="0123456789abcdef",
    run_key="f" * 16,
    fraction=1.0,
    weighting="examples",
    quorum=0.5,
    retries=1,
    deadline=0.3,
    straggler_factor=5.0,
    start_timeout=0.0,
    measure_every=1,
    max_share=1.0,
)
START = ServerState(0, Convergence(0, 0.001))


class Client:
    """Adds a constant update each round and keeps the last two global models, as a real client does."""

    def __init__(self, name, examples, update):
        self.name, self.examples, self.update = name, examples, np.array(update, np.float32)
        self.models = {0: np.zeros(SIZE, np.float32)}
        self.info = {}  # changes to what it says of itself
        self.faults = {}  # server round -> what becomes of the reply to a training message
        self.trained = []  # (round, coefficient)
        self.measures = {}
        self.cannot_use = set()  # rounds whose sum it cannot take over, once each
        self.passes_on = lambda vector: vector

    def describe(self):
        held = {version: vector.tobytes().hex() for version, vector in self.models.items()}
        answer = {
            m.CLIENT: self.name,
            m.TASK: RULES.task,
            m.LAYOUT: RULES.layout,
            m.KEY_ID: "",
            m.NUM_EXAMPLES: self.examples,
            m.HELD_ROUNDS: list(held),
            m.HELD_DIGESTS: list(held.values()),
        }
        return {**answer, **self.info}

    def reach(self, content):
        config = content[m.CONFIG]
        version = config[m.SERVER_ROUND] - 1
        if m.GLOBAL in content:
            vector = np.frombuffer(m.bytes_of(content, m.GLOBAL, beside=[m.AGGREGATE]), np.float32)
            if vector.tobytes().hex() != config[m.GLOBAL_DIGEST]:
                raise ValueError("another model than most hold")
            self.models = {config[m.GLOBAL_VERSION]: vector}
        if version in self.models:
            pass
        elif version in self.cannot_use:
            self.cannot_use.remove(version)
            return None
        else:
            mean = decrypt(m.bytes_of(content, m.AGGREGATE, beside=[m.GLOBAL]), config[m.COEFFICIENT_SUM])
            self.models[version] = self.models[version - 1] + mean
        self.models = {key: self.models[key] for key in sorted(self.models)[-2:]}
        return self.models[version]

    def answer(self, message):
        content, kind = message.content, message.metadata.message_type
        config = content[m.CONFIG]
        if kind == "query" and config[m.ACTION] == m.ACTION_DESCRIBE:
            return RecordDict({m.INFO: ConfigRecord(self.describe())})
        if kind == "query":
            vector = self.passes_on(self.models[config[m.GLOBAL_VERSION]])
            return RecordDict({m.GLOBAL: m.bytes_record(m.GLOBAL, vector.tobytes())})
        if self.reach(content) is None:
            return RecordDict({m.INFO: ConfigRecord({m.UNUSABLE_SUM: "absurdly large"})})
        if kind == "evaluate":
            return RecordDict({m.MEASURES: MetricRecord({"global_mAP": 0.5, **self.measures})})
        server_round, coefficient = config[m.SERVER_ROUND], config[m.COEFFICIENT]
        self.trained.append((server_round, coefficient))
        coefficient *= self.measures.get(m.FEATURE_SHIFT, 1.0)
        reply = RecordDict(
            {
                m.UPDATE: m.bytes_record(m.UPDATE, encrypt(self.update, coefficient)),
                m.INFO: ConfigRecord(self.describe()),
                m.MEASURES: MetricRecord({"loss_total": float(self.examples), **self.measures}),
            }
        )
        return self.faults.get(server_round, lambda good: good)(reply)


class Federation:
    """Three clients, a grid between them and the loop, and what the loop reported."""

    def __init__(self, clients, strategy=PartialSync, **rules):
        self.strategy = strategy
        self.clients = {client.name: client for client in clients}
        self.rules = replace(RULES, num_clients=len(clients), **rules)
        self.grid = InProcessGrid(self.app, "", [{"client": client.name} for client in clients])
        self.reports, self.states, self.taken_back, self.events = [], [], [], []
        self.missing, self.failures, self.looks = [], [], 0

    def app(self, message, context):
        content = self.clients[context.node_config["client"]].answer(message)
        return None if content is None else Message(content, reply_to=message)

    def run(self, state=START, **arguments):
        self.loop = self.strategy(self.rules, lambda *_: PlainSum(SIZE), self, state=state)
        self.result = self.loop.start(self.grid, **arguments)
        return self.loop.state, self.loop.report

    def waiting(self, missing):
        self.missing.append(missing)

    def started(self, server_round, attempt, cohort):
        self.events.append((server_round, attempt, tuple(cohort)))

    def delivering(self, server_round, cohort, seconds):
        self.events.append((server_round, "final", tuple(cohort), seconds))

    def dropped(self, client, reason):
        self.failures.append((client, reason))

    def alive(self):
        self.looks += 1

    def replied(self, client):
        self.events.append(client)

    def finished(self, report, after):
        self.reports.append(report)
        self.states.append(after)

    def sharing(self, clients):
        pass

    def undone(self, before):
        self.taken_back.append(before)
        del self.reports[before.server_round :], self.states[before.server_round :]

    def fail_once(self, names, server_round):
        """The first reply of these clients to this round is cut short."""
        for name in names:
            faults = self.clients[name].faults
            faults[server_round] = lambda reply, faults=faults: faults.clear() or truncated(reply)

    def mean(self, server_round):
        state = self.states[server_round - 1]
        return decrypt(state.aggregate, state.coefficient_sum)

    def left_out(self, server_round):
        return {row["client"]: row["reason"] for row in self.reports[server_round - 1].left_out}

    def sent(self, kind, server_round=None):
        return [
            message
            for message in self.grid.sent
            if message.metadata.message_type == kind
            and server_round in (None, message.content[m.CONFIG][m.SERVER_ROUND])
        ]


def three(**rules):
    rows = (("a", 10, [1, 2, 3]), ("b", 30, [5, 0, -1]), ("c", 60, [0.5, 0.25, 8]))
    return Federation([Client(*row) for row in rows], **rules)


def average(federation, names="abc", weights=None):
    chosen = [federation.clients[name] for name in names]
    weights = weights or [client.examples for client in chosen]
    return np.average([client.update for client in chosen], axis=0, weights=weights)


# Coefficients and products are rounded to float32 once each: values below 8 are right to 8 * 4 * 2^-24.
CLOSE = {"rtol": 0, "atol": 2e-6}


def error(_):
    raise RuntimeError("out of memory")


def truncated(reply):
    reply[m.UPDATE] = m.bytes_record(m.UPDATE, m.bytes_of(reply, m.UPDATE)[:-2])
    return reply
