"""A table of images, CSV or Parquet: the way to bring one's own images without writing code."""

import re
from pathlib import Path

from app.core.sample import Box, Corners, Point, Sample
from app.data.readers.errors import DataSetError
from app.data.readers.name_lists import no_such_split
from app.data.readers.reader import Direction, each_against_all
from app.data.readers.row import MODALITIES, PLATE_BOX, VEHICLE_BOX, Row
from app.data.readers.table import read_rows
from models.errors import MissingFileError

REQUIRED_COLUMNS = ("path", "pid")
COLUMNS = (
    *REQUIRED_COLUMNS,
    *("camid", "split", "site", "modality", "view", "time"),
    *VEHICLE_BOX,
    *PLATE_BOX,
    *("plate_corners", "plate_text", "plate_path"),
)
_ROLES = {  # value of the column `split` -> role of the row
    "": "train",
    "train": "train",
    "query": "test_query",
    "gallery": "test_gallery",
    "test_query": "test_query",
    "test_gallery": "test_gallery",
    "val_query": "val_query",
    "val_gallery": "val_gallery",
}
_INT64_END = 2**63
_MOST_DIGITS = 1000  # zeros in front among them; Python refuses to read numbers of more than 4,300
_WHOLE = re.compile(r"(?<=\d)\.0+$")


class Manifest:
    """Reader of a manifest: one row an image of a vehicle.

    `root` is the file, or a folder that holds manifest.csv or manifest.parquet. Only `path` and `pid` are required; an
    empty cell is as good as a missing column. CSV is UTF-8, with or without a byte order mark, and has commas between
    its cells. Values of split and modality may be in capitals, and 3.0 is 3.

    | column | meaning |
    | --- | --- |
    | path, plate_path | images of the vehicle and of its plate alone, from the manifest's folder on |
    | pid | the vehicle: numbers are kept (07 is 7); if one is no whole number from 0, all are numbered as sorted |
    | camid | the camera, in the same way |
    | split | train (default), query or test_query, gallery or test_gallery, val_query, val_gallery |
    | site, view, time | the car park; front, side, rear; when the image was taken |
    | modality | visible (default) or infrared |
    | vehicle_left, _top, _width, _height | where the vehicle is, in pixels; all four or none |
    | plate_left, _top, _width, _height | where the plate is, in pixels of `path`; all four or none |
    | plate_corners | "x1 y1 x2 y2 x3 y3 x4 y4" from the plate's own top left clockwise; a box if it has none |
    | plate_text | what the plate says |

    A crop of a plate stands in path and in plate_path.

    Where camid is not given each image counts as a camera of its own, so that a query is compared with everything but
    itself. With one camera for all there would be nothing left to compare.

    An image may stand in the table more than once: with several vehicles in it (another box each), or as query and as
    gallery. Within a split the same image and box may stand only once.
    """

    def __init__(self, root: Path, *, seed: int = 0) -> None:
        self.root = Path(root)
        self.seed = seed

    def train(self) -> list[Sample]:
        """The rows of the split train, in their order.

        Raises FileNotFoundError for a missing manifest or image, ValueError for any cell that cannot be understood
        (with file, row and column; the header is row 1) and if there is no such row."""
        return self._part("train")["train"]

    def evaluation(self, split: str) -> list[Direction]:
        """ "test", "val": "query_to_gallery"; "train", "all": every image against all.

        Raises ValueError for a split that no row has, naming those there are, and the errors of `train`."""
        roles = self._part(split)
        if split in ("test", "val"):
            query, gallery = (tuple(roles[f"{split}_{role}"]) for role in ("query", "gallery"))
            return [Direction("query_to_gallery", query, gallery)]
        chosen = roles["train"] if split == "train" else [s for samples in roles.values() for s in samples]
        distinct = {(s.path, s.vehicle_box): s for s in chosen}  # an image may be query and gallery
        return [each_against_all("each_against_all", list(distinct.values()))]

    def _part(self, split: str) -> dict[str, list[Sample]]:
        """The samples of each role. Raises ValueError if there are none for `split`."""
        roles = self._read()
        has = {
            "train": bool(roles["train"]),
            "val": bool(roles["val_query"] and roles["val_gallery"]),
            "test": bool(roles["test_query"] and roles["test_gallery"]),
            "all": any(roles.values()),
        }
        if not has.get(split, False):
            splits = [name for name, there in has.items() if there] or ["no rows at all"]
            raise no_such_split(f"{self.root} (val and test need both queries and a gallery)", split, splits)
        return roles

    def _read(self) -> dict[str, list[Sample]]:
        """The samples of each role."""
        path = _find(self.root)
        found = read_rows(path, known=COLUMNS, required=REQUIRED_COLUMNS)
        rows = [Row(path, number, cells) for number, cells in found]
        pids = _numbers([row.text("pid") or row.fail("pid", "is empty") for row in rows])
        camids = _camids(rows)
        roles: dict[str, list[Sample]] = {role: [] for role in _ROLES.values()}
        seen: dict[tuple[Path, Box | None], tuple[int, int, set[str]]] = {}
        for row, pid, camid in zip(rows, pids, camids, strict=True):
            role = row.choice("split", _ROLES)
            sample = _sample(row, pid, camid)
            known_pid, known_camid, known_roles = seen.setdefault(
                (sample.path, sample.vehicle_box), (pid, camid, set())
            )
            if role in known_roles:
                row.fail("path", f"stands twice in the same split: {row.text('path')!r}")
            if known_pid != pid or known_camid != camid:
                column = "pid" if known_pid != pid else "camid"
                row.fail(column, f"is another one than in an earlier row of the same image: {row.text(column)!r}")
            known_roles.add(role)
            roles[role].append(sample)
        return roles


def _corners(row: Row) -> Corners | None:
    words = row.text("plate_corners").split()
    if not words:
        return None
    if len(words) != 8:
        row.fail("plate_corners", f"not 'x1 y1 x2 y2 x3 y3 x4 y4': {row.text('plate_corners')!r}")
    v = [row.number_in("plate_corners", word) for word in words]
    return Point(v[0], v[1]), Point(v[2], v[3]), Point(v[4], v[5]), Point(v[6], v[7])


def _plate_box(row: Row, corners: Corners | None) -> Box | None:
    box = row.box(PLATE_BOX)
    if box is not None or corners is None:
        return box
    left, top = min(x for x, _ in corners), min(y for _, y in corners)
    width, height = max(x for x, _ in corners) - left, max(y for _, y in corners) - top
    if width <= 0 or height <= 0:
        row.fail("plate_corners", f"enclose nothing: {row.text('plate_corners')!r}")
    return Box(left, top, width, height)


def _sample(row: Row, pid: int, camid: int) -> Sample:
    corners = _corners(row)
    plate_box = _plate_box(row, corners)
    return Sample(
        row.image("path"),
        pid,
        camid,
        vehicle_box=row.box(VEHICLE_BOX),
        plate_boxes=() if plate_box is None else (plate_box,),
        plate_corners=corners,
        plate_path=row.image("plate_path") if row.text("plate_path") else None,
        plate_text=row.text("plate_text") or None,
        modality=row.choice("modality", MODALITIES),
        site=row.text("site") or None,
        time=row.text("time") or None,
        view=row.text("view") or None,
    )


def _find(root: Path) -> Path:
    """The manifest that `root` is or holds."""
    if root.is_file():
        return root
    found = [root / name for name in ("manifest.csv", "manifest.parquet") if (root / name).is_file()]
    if not found:
        raise MissingFileError(f"no manifest: neither {root} itself nor manifest.csv or manifest.parquet in it")
    if len(found) > 1:
        raise DataSetError(f"two manifests in {root}: give the path of one of them")
    return found[0]


def _numbers(texts: list[str]) -> list[int]:
    """Each text as a number: itself if all are whole numbers from 0, otherwise its rank among the different texts.

    3.0 is a whole number: a column of them with gaps, which pandas makes one of floats, is written like that."""
    whole = [_WHOLE.sub("", text) for text in texts]
    if all(text.isdecimal() and len(text) < _MOST_DIGITS and int(text) < _INT64_END for text in whole):
        return [int(text) for text in whole]
    ranks = {text: rank for rank, text in enumerate(sorted(set(texts)))}
    return [ranks[text] for text in texts]


def _camids(rows: list[Row]) -> list[int]:
    """The camera of each row; an image without one gets a number that no other image has."""
    given = [row for row in rows if row.text("camid")]
    known = dict(zip((row.number for row in given), _numbers([row.text("camid") for row in given]), strict=True))
    first = max(known.values(), default=-1) + 1
    own: dict[Path, int] = {}
    return [
        known[row.number] if row.number in known else own.setdefault(row.place("path"), first + len(own))
        for row in rows
    ]
