"""Search for the vehicles of a register that are nearest to the photographs of a query.

SQLite here knows no vectors, so that they are held in memory and searched exactly; in PostgreSQL, pgvector does it.
Both answer alike: the similarity of a vehicle to one photograph is that of its best view, and to several photographs
the mean over them. Vehicles nearest by cosine are then ranked by their scores with local scaling, see
`app.evaluation.local_scaling`.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Integer, text
from sqlalchemy.orm import Session

from app.evaluation.local_scaling import NEIGHBOURS, SHORTLIST, Neighbours, densities_of_photograph, scaled_scores
from app.register.database import Database
from app.register.matcher import Candidate
from app.register.memory_index import MemoryIndex
from app.register.records import changes_since
from app.register.schema import Vector

Floats = NDArray[np.float32]


class Look(Protocol):
    """One search of a library, which may be asked again for further vehicles without searching anew."""

    def nearest(self, also: Collection[int] = ()) -> list[Candidate]:
        """The vehicles of the highest score, best first.

        Args:
            also: vehicles that are compared in any case, such as those of a plate that was read.
        """


class Index(Protocol):
    """The embeddings of one model."""

    def prepare(self) -> None:
        """Read the embeddings, or what changed of them. A look sees what was there then; the next call ends it."""

    def warm(self) -> bool:
        """Find the densities around some vectors, so that no search need wait for them; False if all are known. Takes
        half a second among 300,000 vectors."""

    def look(self, library: str, photographs: Floats, limit: int) -> Look:
        """Search a library for the `limit` vehicles of the highest score, among the `SHORTLIST` nearest by cosine.

        Args:
            photographs: (Q, D) of one vehicle, L2-normalised.
        """

    def search(self, library: str, photographs: Floats, limit: int, also: Collection[int] = ()) -> list[Candidate]:
        """`look` in the register as it is now, asked once."""


def make_index(database: Database, model_id: int) -> Index:
    """The index that suits a database."""
    return MemoryIndex(database, model_id) if database.is_sqlite else PgVectorIndex(database, model_id)


_SEARCH = text("""
    WITH photograph AS MATERIALIZED (
        SELECT number, CAST(vector AS vector) AS vector
        FROM unnest(CAST(:numbers AS int[]), CAST(:vectors AS text[])) AS p (number, vector)
    ), best AS (
        SELECT view.vehicle_id, photograph.number,
               max(-(embedding.vector <#> photograph.vector)) AS similarity
        FROM embedding JOIN view ON view.id = embedding.view_id CROSS JOIN photograph
        WHERE embedding.model_id = :model_id AND embedding.library = :library
        GROUP BY view.vehicle_id, photograph.number
    )
    SELECT vehicle_id, avg(similarity) AS similarity FROM best
    GROUP BY vehicle_id ORDER BY similarity DESC, vehicle_id LIMIT :limit
""")

_VIEWS = text("""
    SELECT view.vehicle_id, view.id, embedding.vector
    FROM embedding JOIN view ON view.id = embedding.view_id
    WHERE embedding.model_id = :model_id AND embedding.library = :library AND view.vehicle_id = ANY(:vehicles)
    ORDER BY view.vehicle_id, view.id
""").columns(vehicle_id=Integer, id=Integer, vector=Vector)

_AROUND = text("""
    SELECT photograph.number, other.vehicle_id, other.similarity
    FROM unnest(CAST(:own AS int[]), CAST(:vectors AS text[])) WITH ORDINALITY AS photograph (own, vector, number)
    CROSS JOIN LATERAL (
        SELECT view.vehicle_id, max(-(embedding.vector <#> CAST(photograph.vector AS vector))) AS similarity
        FROM embedding JOIN view ON view.id = embedding.view_id
        WHERE embedding.model_id = :model_id AND embedding.library = :library AND view.vehicle_id <> photograph.own
        GROUP BY view.vehicle_id ORDER BY similarity DESC, view.vehicle_id LIMIT :limit
    ) AS other
    ORDER BY photograph.number, other.similarity DESC, other.vehicle_id
""")

_NEARER = text("""
    SELECT DISTINCT near.id
    FROM unnest(CAST(:views AS int[]), CAST(:least AS float8[])) AS near (id, least)
    JOIN embedding AS held ON held.view_id = near.id AND held.model_id = :model_id AND held.library = :library
    JOIN view AS changed ON changed.vehicle_id = ANY(:vehicles)
    JOIN embedding ON embedding.view_id = changed.id
        AND embedding.model_id = :model_id AND embedding.library = :library
    WHERE -(embedding.vector <#> held.vector) >= near.least - 1e-6
""")
_MOST_KNOWN = 20_000  # views whose neighbours are kept
_MOST_FOLLOWED = 200
"""Changed vehicles up to which each is compared with what is known; after an import, all of it is forgotten."""


class _Around(NamedTuple):
    """The nearest other vehicles of a view, nearest first."""

    vehicle: int
    similarities: list[float]
    vehicles: list[int]


class PgVectorIndex:
    """Searches in PostgreSQL, exactly: only the vectors of a shortlist leave the database.

    The nearest other vehicles of a view are found when a search first needs them, and kept in memory."""

    def __init__(self, database: Database, model_id: int) -> None:
        self.database = database
        self.model_id = model_id
        self._around: dict[str, dict[int, _Around]] = {}  # by library and view
        self._seen = -1

    def prepare(self) -> None:
        with self.database.reading() as session:
            self._follow(session)

    def warm(self) -> bool:
        return False  # another process's memory would be warmed anew, at the cost of everybody's database

    def search(self, library: str, photographs: Floats, limit: int, also: Collection[int] = ()) -> list[Candidate]:
        self.prepare()
        return self.look(library, photographs, limit).nearest(also)

    def look(self, library: str, photographs: Floats, limit: int) -> "_Look":
        asked = np.atleast_2d(photographs)
        with self.database.reading() as session:
            shortlist = self.nearest_by_cosine(session, library, asked, max(limit, SHORTLIST))
            one = len(asked) == 1 or not shortlist
            each = [asked] if one else [row[None] for row in asked]
            near = [shortlist if one else self.nearest_by_cosine(session, library, row, NEIGHBOURS + 1) for row in each]
        return _Look(self, library, asked, limit, shortlist, near)

    def views_of(self, library: str, vehicles: Collection[int]) -> tuple[Sequence[Any], Floats]:
        """The views of vehicles, with the density around each."""
        with self.database.reading() as session:
            views = session.execute(_VIEWS, {**self._where(library), "vehicles": list(vehicles)}).all()
            return views, self._density(session, library, [(row.id, row.vehicle_id, row.vector) for row in views])

    def _where(self, library: str) -> dict[str, Any]:
        return {"model_id": self.model_id, "library": library}

    def nearest_by_cosine(self, session: Session, library: str, asked: Floats, limit: int) -> dict[int, float]:
        """The most similar vehicles, nearest first, and their similarities."""
        given = {"numbers": list(range(len(asked))), "vectors": _texts(asked), "limit": limit}
        rows = session.execute(_SEARCH, {**self._where(library), **given})
        return {row.vehicle_id: float(row.similarity) for row in rows}

    def _density(self, session: Session, library: str, views: Sequence[tuple[int, int, Floats]]) -> Floats:
        """The density around views (N,), each with its vehicle and vector."""
        held = self._around.setdefault(library, {})
        if unknown := [each for each in views if each[0] not in held]:
            own = [vehicle for _, vehicle, _ in unknown]
            given = {"own": own, "vectors": _texts([vector for *_, vector in unknown]), "limit": NEIGHBOURS + 1}
            found = [_Around(vehicle, [], []) for vehicle in own]
            for row in session.execute(_AROUND, {**self._where(library), **given}):
                found[row.number - 1].similarities.append(float(row.similarity))
                found[row.number - 1].vehicles.append(row.vehicle_id)
            if len(held) > _MOST_KNOWN:
                for view in held.keys() - {each[0] for each in views}:
                    del held[view]
            # Only now: a failed query must not leave views without neighbours.
            held.update(zip((view for view, *_ in unknown), found, strict=True))
        means = [held[view].similarities[:NEIGHBOURS] or [0.0] for view, *_ in views]
        return np.array([sum(values) / len(values) for values in means], np.float32)

    def _follow(self, session: Session) -> None:
        """Forget the neighbours of views that the register's changes since the last time may have changed."""
        last, changed = changes_since(session, self._seen)
        if changed:
            for library, held in self._around.items():
                if len(changed) > _MOST_FOLLOWED:
                    held.clear()
                    continue
                gone = [
                    v for v, each in held.items() if each.vehicle in changed or not changed.isdisjoint(each.vehicles)
                ]
                for view in gone:
                    del held[view]
                least = [
                    each.similarities[-1] if len(each.similarities) > NEIGHBOURS else -2.0 for each in held.values()
                ]
                given = {"views": list(held), "least": least, "vehicles": sorted(changed)}
                for view in session.scalars(_NEARER, {**self._where(library), **given}).all():
                    del held[view]
        self._seen = last


@dataclass(frozen=True)
class _Look:
    """See `Look`: only the views of vehicles that are compared are asked for again."""

    index: PgVectorIndex
    library: str
    asked: Floats
    limit: int
    shortlist: Mapping[int, float]
    near: Sequence[Mapping[int, float]]

    def nearest(self, also: Collection[int] = ()) -> list[Candidate]:
        chosen = [*self.shortlist, *(vehicle for vehicle in also if vehicle not in self.shortlist)]
        views, known = self.index.views_of(self.library, chosen)
        if not views:
            return []
        vehicles = sorted({row.vehicle_id for row in views})
        similarities = self.asked @ np.stack([row.vector for row in views]).T
        rows = [[place for place, row in enumerate(views) if row.vehicle_id == vehicle] for vehicle in vehicles]
        around = [densities_of_photograph(_as_neighbours(found), np.array(vehicles)) for found in self.near]
        score = scaled_scores(similarities, known, rows, around)
        cosine = np.stack([similarities[:, columns].max(axis=1) for columns in rows]).mean(axis=1)
        order = sorted(range(len(vehicles)), key=lambda place: (-score[place], vehicles[place]))
        found = []
        for number, place in enumerate(order):
            if number < self.limit or vehicles[place] in also:
                best = int(np.argmax(similarities[:, rows[place]].max(axis=0)))
                view = views[rows[place][best]].id
                found.append(Candidate(vehicles[place], float(cosine[place]), view, float(score[place])))
        return found


def _texts(vectors: Iterable[Floats]) -> list[str]:
    return ["[" + ",".join(map(repr, row.tolist())) + "]" for row in vectors]


def _as_neighbours(found: Mapping[int, float]) -> Neighbours:
    nearest = list(found.items())[: NEIGHBOURS + 1]
    nearest += [(-1, -np.inf)] * (NEIGHBOURS + 1 - len(nearest))
    return Neighbours(np.array([[s for _, s in nearest]], np.float32), np.array([[v for v, _ in nearest]], np.int64))
