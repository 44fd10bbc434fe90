"""Lines about long work where no terminal shows a bar."""

from scripts.progress import Progress


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def lines(capsys, steps, total):
    """Printed for (seconds, done) in turn."""
    clock = Clock()
    with Progress(1, clock=clock) as progress:
        for seconds, done in steps:
            clock.now = 100.0 + seconds
            progress.step_done("central", done, total)
    return capsys.readouterr().err.splitlines()


def test_long_work_is_told_of_every_half_a_minute(capsys):
    steps = [(0, 0), (10, 1), (29, 2), (31, 3), (40, 4), (62, 5), (63, 6)]
    found = lines(capsys, steps, 6)
    assert found == ["central: 0 of 6", "central: 3 of 6, 31 s", "central: 5 of 6, 62 s", "central: 6 of 6, 63 s"]


def test_short_work_without_a_beginning_is_not_told_of(capsys):
    assert lines(capsys, [(0, 1), (1, 2), (2, 3)], 3) == []


def test_rounds_have_their_own_lines(capsys):
    line = {"server_round": 1, "measures": {}, "seconds": 2.0, "left_out": []}
    clock = Clock()
    with Progress(2, clock=clock) as progress:
        progress.round_done(line)
        clock.now += 100
        progress.round_done({**line, "server_round": 2})
    assert capsys.readouterr().err.splitlines() == ["round 1/2  2.0 s", "round 2/2  2.0 s"]
