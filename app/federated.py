"""Builds the parts that settings name: cipher, server optimiser, and the rules of a round."""

from collections.abc import Callable

from app.sections import FederationSettings, PrivacySettings, ServerOptimiserSettings
from strategies.ciphers.cipher import ClientCipher, ServerSum
from strategies.ciphers.plain import PlainCipher, PlainSum
from strategies.partial_sync import RoundRules
from strategies.server_optimiser import Adam, Average, Momentum, ServerOptimiser


def make_client_cipher(settings: PrivacySettings, size: int) -> ClientCipher:
    """The client's half of the cipher for `size` shared values."""
    return {"plain": PlainCipher}[settings.cipher](size)


def make_server_sum(settings: PrivacySettings, size: int) -> Callable[[], ServerSum]:
    """Makes empty running sums: the server's half."""
    kind = {"plain": PlainSum}[settings.cipher]
    return lambda: kind(size)


def make_server_optimiser(settings: ServerOptimiserSettings) -> ServerOptimiser:
    """The step that every client computes on the aggregate."""
    lr = settings.lr if settings.lr is not None else (0.01 if settings.name == "adam" else 1.0)
    if settings.name == "momentum":
        return Momentum(lr, settings.momentum, settings.nesterov)
    if settings.name == "adam":
        return Adam(lr, settings.beta1, settings.beta2, settings.epsilon)
    return Average(lr)


def make_rules(settings: FederationSettings, *, task: str, layout: str, run_key: str, seed: int) -> RoundRules:
    """The rules of a round."""
    return RoundRules(
        rounds=settings.rounds,
        num_clients=settings.num_clients,
        task=task,
        layout=layout,
        run_key=run_key,
        fraction=settings.fraction,
        weighting=settings.weighting,
        quorum=settings.quorum,
        retries=settings.retries,
        deadline=settings.deadline,
        start_timeout=settings.start_timeout,
        measure_every=settings.measure_every,
        seed=seed,
    )
