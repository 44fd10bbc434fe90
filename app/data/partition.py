"""Dividing one set of images between the clients of a simulated federation."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np

from app.core.sample import Sample
from app.data.readers.errors import DataSetError
from app.data.readers.reader import Direction
from models.plugins import PlugInError, is_plug_in, load

_MOST_SHOWN = 16
KINDS = ("site", "identity", "camera", "dirichlet")


def partition(samples: Sequence[Sample], *, by: str, num_clients: int, alpha: float, seed: int) -> list[list[Sample]]:
    """The images of each client, in the order of `samples`; every image is in exactly one part.

    Args:
        by: "site", "identity", "camera" or "dirichlet": the function of that name says how; or a plug-in, a function
            of samples, num_clients, alpha and seed.
        num_clients: number of parts. By site it must be the number of sites.
        alpha: used by "dirichlet" alone.
        seed: used by "identity" and "dirichlet".

    Raises ValueError for another `by`, fewer than one client, and what cannot be divided so."""
    if by == "site":
        parts = by_site(samples)
        if len(parts) != num_clients:
            raise DataSetError(f"the images are from {len(parts)} sites, so there cannot be {num_clients} clients")
        return parts
    if by == "identity":
        return by_identity(samples, num_clients, seed)
    if by == "camera":
        return by_camera(samples, num_clients)
    if by == "dirichlet":
        return dirichlet(samples, num_clients, alpha, seed)
    if not is_plug_in("partitioners", by):
        raise ValueError(f"unknown way to divide {by!r}; known: {', '.join(KINDS)}")
    parts = [list(part) for part in load("partitioners", by)(samples, num_clients=num_clients, alpha=alpha, seed=seed)]
    if len(parts) != num_clients or Counter(chain.from_iterable(parts)) != Counter(samples):
        raise PlugInError(f"partitioner {by} must give {num_clients} parts, with each image in exactly one of them")
    return parts


def by_site(samples: Sequence[Sample]) -> list[list[Sample]]:
    """One part a site, sites in sorted order. Raises ValueError naming the first image without a site."""
    sites = [_site(sample) for sample in samples]
    client_of = {site: client for client, site in enumerate(sorted(set(sites)))}
    return _split(samples, [client_of[site] for site in sites], len(client_of))


def by_identity(samples: Sequence[Sample], num_clients: int, seed: int) -> list[list[Sample]]:
    """Whole vehicles dealt to the clients so that all have nearly as many images.

    Raises ValueError for fewer vehicles than clients."""
    client_of = _deal(Counter(sample.pid for sample in samples), num_clients, seed)
    if len(client_of) < num_clients:
        raise DataSetError(f"{len(client_of)} vehicles cannot be dealt to {num_clients} clients")
    return _split(samples, [client_of[sample.pid] for sample in samples], num_clients)


def by_camera(samples: Sequence[Sample], num_clients: int) -> list[list[Sample]]:
    """Whole cameras: runs of neighbouring camids, as many to each client as to any other, or one more.

    A vehicle that several cameras saw is then a vehicle of several clients. Raises ValueError for fewer cameras than
    clients."""
    _check_clients(num_clients)
    camids = sorted({sample.camid for sample in samples})
    if len(camids) < num_clients:
        raise DataSetError(f"{len(camids)} cameras cannot be dealt to {num_clients} clients")
    runs = np.array_split(np.array(camids), num_clients)
    client_of = {int(camid): client for client, run in enumerate(runs) for camid in run}
    return _split(samples, [client_of[sample.camid] for sample in samples], num_clients)


def dirichlet(samples: Sequence[Sample], num_clients: int, alpha: float, seed: int) -> list[list[Sample]]:
    """Each vehicle's images spread over the clients by shares from Dirichlet(alpha, ..., alpha).

    A small `alpha` gives a vehicle nearly whole to one client, a large one spreads it evenly (Hsu et al., 2019,
    arXiv:1909.06335, draw the classes of each client; here it is the clients of each class, as is usual since). A part
    may be empty. Raises ValueError unless alpha is positive and finite."""
    _check_clients(num_clients)
    if not (0 < alpha < float("inf")):
        raise ValueError(f"alpha must be positive and finite, got {alpha}")
    rng = np.random.default_rng(seed)
    places: dict[int, list[int]] = {}
    for place, sample in enumerate(samples):
        places.setdefault(sample.pid, []).append(place)
    clients = np.zeros(len(samples), dtype=int)
    for pid in sorted(places):
        shares = rng.dirichlet(np.full(num_clients, alpha))
        # Each image is sampled by itself: cutting a vehicle of one or two images at rounded shares would give
        # nearly all such vehicles to the last client.
        clients[places[pid]] = rng.choice(num_clients, size=len(places[pid]), p=shares)
    return _split(samples, clients.tolist(), num_clients)


def partition_directions(
    directions: Sequence[Direction],
    *,
    by: str,
    num_clients: int,
    seed: int,
    alpha: float,  # noqa: ARG001
    sites: Sequence[str],
) -> list[list[Direction]]:
    """The evaluation of each client: every direction, under its name, with this client's queries and gallery.

    By site, query and gallery are divided in the order of `sites`. By identity the vehicles are dealt; where
    the directions hold just the training images, each client gets the vehicles it trains on. By camera, by dirichlet
    and by a plug-in the vehicles are dealt too: the images of one camera alone hold no match in another camera. A
    client may be left without queries, and says so in its count of queries.

    Args:
        directions: what `Reader.evaluation` gave.
        alpha: not used; taken so that one set of settings fits `partition` too.
        sites: the sites of the training images in sorted order, one a client; used by "site" alone.

    Raises ValueError for another `by`, an image without a site or with one that is not in `sites`."""
    if by not in KINDS and not is_plug_in("partitioners", by):
        raise ValueError(f"unknown way to divide {by!r}; known: {', '.join(KINDS)}")
    clients: dict[str, int] = {}
    if by == "site":
        if len(sites) != num_clients:
            raise DataSetError(f"the training images are from {len(sites)} sites, not {num_clients}")
        clients = {site: client for client, site in enumerate(sites)}
    distinct = {sample for direction in directions for sample in (*direction.query, *direction.gallery)}
    dealt = _deal(Counter(sample.pid for sample in distinct), num_clients, seed)

    def client_of(sample: Sample) -> int:
        if by != "site":
            return dealt[sample.pid]
        if (site := _site(sample)) not in clients:
            raise DataSetError(f"{sample.path} is from {site!r}, where nobody trains; known: {', '.join(sites)}")
        return clients[site]

    def divide(samples: Sequence[Sample]) -> list[list[Sample]]:
        return _split(samples, [client_of(sample) for sample in samples], num_clients)

    divided = [(direction.name, divide(direction.query), divide(direction.gallery)) for direction in directions]
    return [
        [Direction(name, tuple(query[client]), tuple(gallery[client])) for name, query, gallery in divided]
        for client in range(num_clients)
    ]


def own_cameras(directions: Sequence[Direction], parts: Sequence[Sequence[Sample]]) -> list[list[Direction]]:
    """Each client's queries, those of the cameras that it trains on, against the whole gallery.

    Raises DataSetError naming the first query of a camera that no client trains on."""
    cameras = [{sample.camid for sample in part} for part in parts]
    known = set().union(*cameras)
    for sample in (sample for direction in directions for sample in direction.query):
        if sample.camid not in known:
            raise DataSetError(f"{sample.path} is from camera {sample.camid}, where nobody trains")
    return [
        [replace(each, query=tuple(sample for sample in each.query if sample.camid in own)) for each in directions]
        for own in cameras
    ]


def shown_clients(count: int) -> list[int]:
    """Numbers of the clients in a printed table: all, or 16 at even distances with the first and the last."""
    if count <= _MOST_SHOWN:
        return list(range(count))
    return [round(place) for place in np.linspace(0, count - 1, _MOST_SHOWN)]


def table(parts: Iterable[Sequence[Sample]]) -> str:
    """The parts as plain text: each client's images, vehicles, cameras and images per vehicle, min/median/max; and
    where there are infrared images, how many, and the vehicles seen in both modalities."""
    listed = [list(part) for part in parts]
    night = any(sample.modality == "infrared" for part in listed for sample in part)
    heads = ("client", "images", "vehicles", "cameras", "images per vehicle", "infrared", "in both")
    rows: list[tuple[str, ...]] = [heads]
    shown = shown_clients(len(listed))
    for client, part in ((client, listed[client]) for client in shown):
        counts = sorted(Counter(sample.pid for sample in part).values())
        spread = f"{counts[0]}/{np.median(counts):g}/{counts[-1]}" if counts else "-"
        cameras = len({sample.camid for sample in part})
        dark = {sample.pid for sample in part if sample.modality == "infrared"}
        both = dark & {sample.pid for sample in part if sample.modality == "visible"}
        infrared = sum(sample.modality == "infrared" for sample in part)
        cells = (client, len(part), len(counts), cameras, spread, infrared, len(both))
        rows.append(tuple(str(cell) for cell in cells))
    if not night:
        rows = [row[:-2] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = ["  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(
        [*lines, *([f"{len(shown)} of {len(listed):,} clients are shown"] if len(shown) < len(listed) else [])]
    )


def _deal(counts: Mapping[int, int], num_clients: int, seed: int) -> dict[int, int]:
    """The client of each pid: the vehicle with most images goes first, always to the client with fewest so far.

    The result depends on the counts and the seed alone. Two clients differ by no more images than the largest
    vehicle has."""
    _check_clients(num_clients)
    shuffled = [int(pid) for pid in np.random.default_rng(seed).permutation(sorted(counts))]
    images, vehicles = [0] * num_clients, [0] * num_clients
    client_of = {}
    for pid in sorted(shuffled, key=lambda pid: -counts[pid]):  # stable: equal counts stay shuffled
        client = min(range(num_clients), key=lambda client: (images[client], vehicles[client]))
        client_of[pid] = client
        images[client] += counts[pid]
        vehicles[client] += 1
    return client_of


def _split(samples: Sequence[Sample], clients: Sequence[int], num_clients: int) -> list[list[Sample]]:
    parts: list[list[Sample]] = [[] for _ in range(num_clients)]
    for sample, client in zip(samples, clients, strict=True):
        parts[client].append(sample)
    return parts


def _site(sample: Sample) -> str:
    if sample.site is None:
        raise DataSetError(f"cannot divide by site: {sample.path} has none")
    return sample.site


def _check_clients(num_clients: int) -> None:
    if num_clients < 1:
        raise ValueError(f"there must be at least one client, got {num_clients}")
