"""Outer skin of a body: surfaces between the stations of its outline."""

from dataclasses import dataclass

from app.synthetic.body import Body
from app.synthetic.mesh import Surface

_ACROSS = (-1.0, -0.62, 0.62, 1.0)  # columns of a surface that runs from right to left


@dataclass(frozen=True)
class Shell:
    """The surfaces of one body, by the names used for stickers.

    Across the vehicle columns run from -1 (right) to 1 (left); along it they are shares of the length, 0 = front.
    Rows of `front`, `rear`, `left` and `right`: 0 sill, 1 bumper's upper edge, 2 top."""

    front: Surface
    bonnet: Surface
    windscreen: Surface
    roof: Surface
    rear_window: Surface
    boot: Surface
    rear: Surface
    left: Surface
    right: Surface
    left_house: Surface  # rows 0 belt to 1 roof, columns 0 front to 1 rear
    right_house: Surface


def half_width(body: Body, row: int) -> float:
    """Half of the body's width at a row of its side: narrower at the sill and at the belt line."""
    return body.width / 2 * (0.95, 1.0, 0.965)[row]


def build_shell(body: Body) -> Shell:
    """The surfaces of `body`."""

    def x(share: float) -> float:
        return body.length * (0.5 - share)

    corner = 0.93  # the ends are narrower than the middle

    def across(at: float, z: float, half: float, setback: float, narrow: float) -> list[list[float]]:
        """Four points from right to left; the outer two lie `setback` behind the others (negative: before)."""
        return [
            [at - setback, -half * narrow, z],
            [at, -0.62 * half, z],
            [at, 0.62 * half, z],
            [at - setback, half * narrow, z],
        ]

    sill, low, high = (half_width(body, row) for row in range(3))
    set_front, set_rear = body.setback, -0.6 * body.setback
    front_rows = [
        across(x(0.004), body.clearance, sill, set_front, corner),
        across(x(0.0), body.bumper, low, set_front, corner),
        across(x(0.016), body.nose, high, set_front, corner),
    ]
    rear_rows = [
        across(x(0.996), body.clearance + 0.04, sill, set_rear, corner),
        across(x(1.0), body.bumper + 0.08, low, set_rear, corner),
        across(x(0.99), body.tail, high, set_rear, corner),
    ]
    cowl_row = across(x(body.cowl_at), body.cowl, high, 0.06, 1.0)
    base_row = across(x(body.rear_base_at), body.rear_base, high, 0.0, 1.0)
    roof_half = body.width / 2 * body.roof_width
    roof_rows = []
    roof_shares = (0.0, 0.35, 1.0)
    for share, drop in zip(roof_shares, (0.035, 0.0, 0.06 if body.height < 1.9 else 0.02), strict=True):
        at = x(body.roof_front + share * (body.roof_rear - body.roof_front))
        row = across(at, body.height - drop, roof_half, 0.03, 1.0)
        row[0][2] -= 0.03
        row[3][2] -= 0.03
        roof_rows.append(row)

    def side(sign: int) -> Surface:
        pick = 0 if sign < 0 else 3
        middle = (body.cowl_at + body.rear_base_at) / 2
        columns = [x_share(front_rows[1][pick][0]), body.cowl_at + 0.013, middle, body.rear_base_at]
        columns.append(x_share(rear_rows[1][pick][0]))
        belt = (body.cowl + body.rear_base) / 2
        heights = [
            [front_rows[0][pick][2], *[body.clearance] * 3, rear_rows[0][pick][2]],
            [front_rows[1][pick][2], *[0.64 if body.bumper < 0.56 else 0.74] * 3, rear_rows[1][pick][2]],
            [front_rows[2][pick][2], body.cowl, belt, body.rear_base, rear_rows[2][pick][2]],
        ]
        grid = []
        for row in range(3):
            half = half_width(body, row)
            line = [front_rows[row][pick]]
            line += [[x(columns[c]), sign * half, heights[row][c]] for c in range(1, 4)]
            grid.append([*line, rear_rows[row][pick]])
        columns[-1] = max(columns[-1], columns[-2] + 0.004)
        return Surface(grid, (0, 1, 2), columns)

    def x_share(at: float) -> float:
        return 0.5 - at / body.length

    def house(sign: int) -> Surface:
        pick = 0 if sign < 0 else 3
        belt = (body.cowl + body.rear_base) / 2
        middle = (cowl_row[pick][0] + base_row[pick][0]) / 2
        foot = [cowl_row[pick], [middle, sign * high, belt], base_row[pick]]
        return Surface([foot, [row[pick] for row in roof_rows]], (0, 1), (0, 0.45, 1))

    return Shell(
        front=Surface(front_rows, (0, 1, 2), _ACROSS),
        bonnet=Surface([front_rows[2], cowl_row], (0, 1), _ACROSS),
        windscreen=Surface([cowl_row, roof_rows[0]], (0, 1), _ACROSS),
        roof=Surface(roof_rows, roof_shares, _ACROSS),
        rear_window=Surface([base_row, roof_rows[2]], (0, 1), _ACROSS),
        boot=Surface([rear_rows[2], base_row], (0, 1), _ACROSS),
        rear=Surface(rear_rows, (0, 1, 2), _ACROSS),
        left=side(1),
        right=side(-1),
        left_house=house(1),
        right_house=house(-1),
    )
