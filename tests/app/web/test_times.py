"""Times on pages: in the zone of the site, and in the form of the language."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from app.register.history import Chosen
from app.register.schema import Sighting
from app.settings.checks import SettingsError
from app.web.times import MACHINE, local_day, local_time, time_zone, zone_name

BERLIN, SHANGHAI = ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Shanghai")
LATE = datetime(2026, 3, 29, 22, 30, tzinfo=UTC)


def test_a_time_has_the_zone_and_the_form_of_the_page():
    assert local_time(LATE, BERLIN, "en_GB") == "30 Mar 2026, 00:30"
    assert local_time(LATE, SHANGHAI, "zh_Hans_CN") == "2026年3月30日 06:30"
    assert local_time(LATE.replace(tzinfo=None), UTC, "en_GB") == "29 Mar 2026, 22:30"
    assert local_day(LATE, SHANGHAI, "zh_Hans_CN") == "2026年3月30日"
    assert local_day(LATE.isoformat(), UTC, "en_GB") == "29 Mar 2026"


def test_zones_by_name():
    assert time_zone("") is MACHINE
    assert zone_name(time_zone("Asia/Shanghai")) == "Asia/Shanghai"
    assert zone_name(MACHINE)
    for name in ("Berlin", "../../etc/passwd", "Europe", "Europe/Berlin\0"):
        with pytest.raises(SettingsError, match="is no time zone such as Europe/Berlin"):
            time_zone(name)


def test_a_day_is_one_of_the_site(identification):
    moments = [datetime(2026, 3, 28, 23, 30, tzinfo=UTC), datetime(2026, 3, 29, 21, 59, tzinfo=UTC), LATE]
    with identification.database.writing() as session:
        for moment in moments:
            session.add(Sighting(account="tester", pictures=[], decision="unknown", answer={}, created=moment))

    def seen(day, zone):
        rows = identification.history.sightings(Chosen(day=day, zone=zone), None, 10)
        return [row.sighting.created for row in reversed(rows)]

    assert seen(date(2026, 3, 29), UTC) == moments[1:]
    assert seen(date(2026, 3, 29), BERLIN) == moments[:2], "the day on which the clocks change has 23 hours"
    assert seen(date(2026, 3, 30), BERLIN) == moments[2:]
    for zone in (SHANGHAI, ZoneInfo("America/New_York")):
        assert seen(date.min, zone) == seen(date.max, zone) == []


@pytest.mark.slow
def test_pages_have_the_times_of_the_site(as_role):
    client = as_role("manager")
    client.app.state.register.zone = SHANGHAI
    with client.app.state.register.identification.database.writing() as session:
        session.add(Sighting(account="manager", pictures=[], decision="unknown", answer={}, created=LATE))
    page = client.get("/sightings?day=2026-03-30", headers={"accept": "text/html", "accept-language": "zh"}).text
    assert "2026年3月30日 06:30</time>" in page
    assert "时区：Asia/Shanghai" in page
    rows = client.get("/api/sightings?day=2026-03-30").json()
    assert [row["created"] for row in rows] == ["2026-03-29T22:30:00Z"]
