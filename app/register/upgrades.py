"""Numbered steps of the register's tables, in plain SQL of SQLite and PostgreSQL.

The row `version` of the table `setting` says of which version a register's tables are. Whoever opens a register takes
the steps that it lacks, in one transaction and while no other process writes: one that is killed meanwhile leaves the
tables as they were. A new register takes all steps.

To change the tables, change `app.register.schema` and append a step; a test compares the two. Steps are never changed
once a version of the project was given away: SQL in words of its own does not follow the schema.
"""

import logging
from collections.abc import Callable
from typing import NamedTuple

from sqlalchemy import Connection, inspect, text

from app.register.errors import RegisterError

_log = logging.getLogger(__name__)

_TYPES = {
    "sqlite": {"id": "id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT", "time": "DATETIME", "vector": "BLOB"},
    "postgresql": {"id": "id SERIAL PRIMARY KEY", "time": "TIMESTAMP WITH TIME ZONE", "vector": "VECTOR"},
}
_TABLES_OF_VERSION_1 = """
CREATE TABLE IF NOT EXISTS setting (name VARCHAR NOT NULL PRIMARY KEY, value VARCHAR NOT NULL);

CREATE TABLE IF NOT EXISTS owner (
    {id}, name VARCHAR NOT NULL, flat VARCHAR NOT NULL, contact VARCHAR NOT NULL, created {time} NOT NULL);

CREATE TABLE IF NOT EXISTS vehicle (
    {id}, owner_id INTEGER REFERENCES owner (id), note VARCHAR NOT NULL, created {time} NOT NULL);
CREATE INDEX IF NOT EXISTS ix_vehicle_owner_id ON vehicle (owner_id);

CREATE TABLE IF NOT EXISTS plate (
    vehicle_id INTEGER NOT NULL PRIMARY KEY REFERENCES vehicle (id), text VARCHAR NOT NULL,
    normal VARCHAR NOT NULL UNIQUE);

CREATE TABLE IF NOT EXISTS "view" (
    {id}, vehicle_id INTEGER NOT NULL REFERENCES vehicle (id), picture VARCHAR NOT NULL, vehicle_box JSON,
    plate_picture VARCHAR, plate_box JSON, modality VARCHAR NOT NULL, created {time} NOT NULL);
CREATE INDEX IF NOT EXISTS ix_view_vehicle_id ON "view" (vehicle_id);

CREATE TABLE IF NOT EXISTS model (
    {id}, digest VARCHAR NOT NULL UNIQUE, libraries JSON NOT NULL, origin VARCHAR NOT NULL, created {time} NOT NULL,
    thresholds JSON NOT NULL);

CREATE TABLE IF NOT EXISTS embedding (
    {id}, model_id INTEGER NOT NULL REFERENCES model (id), library VARCHAR NOT NULL,
    view_id INTEGER NOT NULL REFERENCES "view" (id), vector {vector} NOT NULL, UNIQUE (model_id, library, view_id));
CREATE INDEX IF NOT EXISTS ix_embedding_view_id ON embedding (view_id);

CREATE TABLE IF NOT EXISTS change ({id}, vehicle_id INTEGER NOT NULL);

CREATE TABLE IF NOT EXISTS sighting (
    {id}, vehicle_id INTEGER REFERENCES vehicle (id), decision VARCHAR NOT NULL, answer JSON NOT NULL,
    pictures JSON NOT NULL, account VARCHAR NOT NULL, created {time} NOT NULL);
CREATE INDEX IF NOT EXISTS ix_sighting_vehicle_id ON sighting (vehicle_id);

CREATE TABLE IF NOT EXISTS shown (
    {id}, account VARCHAR NOT NULL, sighting_id INTEGER NOT NULL REFERENCES sighting (id) ON DELETE CASCADE,
    vehicle_id INTEGER REFERENCES vehicle (id) ON DELETE CASCADE, picture VARCHAR);
CREATE INDEX IF NOT EXISTS ix_shown_sighting_id ON shown (sighting_id);
CREATE INDEX IF NOT EXISTS ix_shown_vehicle_id ON shown (vehicle_id);
CREATE INDEX IF NOT EXISTS shown_vehicle ON shown (account, vehicle_id);
CREATE INDEX IF NOT EXISTS shown_picture ON shown (account, picture);

CREATE TABLE IF NOT EXISTS imported (
    digest VARCHAR NOT NULL PRIMARY KEY, owner VARCHAR NOT NULL,
    vehicle_id INTEGER NOT NULL REFERENCES vehicle (id) ON DELETE CASCADE);
CREATE INDEX IF NOT EXISTS ix_imported_owner ON imported (owner);
CREATE INDEX IF NOT EXISTS ix_imported_vehicle_id ON imported (vehicle_id);

CREATE TABLE IF NOT EXISTS incident (
    {id}, sighting_id INTEGER REFERENCES sighting (id), vehicle_id INTEGER REFERENCES vehicle (id),
    kind VARCHAR NOT NULL, note VARCHAR NOT NULL, closed {time}, account VARCHAR NOT NULL, created {time} NOT NULL);
CREATE INDEX IF NOT EXISTS ix_incident_vehicle_id ON incident (vehicle_id);

CREATE TABLE IF NOT EXISTS audit (
    {id}, created {time} NOT NULL, account VARCHAR NOT NULL, action VARCHAR NOT NULL, subject VARCHAR NOT NULL,
    details JSON NOT NULL);

CREATE TABLE IF NOT EXISTS account (
    {id}, name VARCHAR NOT NULL UNIQUE, role VARCHAR NOT NULL, password VARCHAR NOT NULL, created {time} NOT NULL,
    disabled BOOLEAN NOT NULL);

CREATE TABLE IF NOT EXISTS ticket (
    {id}, account_id INTEGER NOT NULL REFERENCES account (id), digest VARCHAR NOT NULL UNIQUE, kind VARCHAR NOT NULL,
    label VARCHAR NOT NULL, expires {time} NOT NULL, created {time} NOT NULL);
CREATE INDEX IF NOT EXISTS ix_ticket_account_id ON ticket (account_id);

CREATE TABLE IF NOT EXISTS ticket_use (
    ticket_id INTEGER NOT NULL PRIMARY KEY REFERENCES ticket (id) ON DELETE CASCADE, used {time} NOT NULL);
"""
_CONFIRMATION = """
CREATE TABLE confirmation (
    sighting_id INTEGER NOT NULL PRIMARY KEY REFERENCES sighting (id) ON DELETE CASCADE, truth VARCHAR NOT NULL,
    vehicle_id INTEGER REFERENCES vehicle (id) ON DELETE CASCADE, account VARCHAR NOT NULL, created {time} NOT NULL);
CREATE INDEX ix_confirmation_vehicle_id ON confirmation (vehicle_id);
"""
_CORRECTION = """
CREATE INDEX ix_change_vehicle_id ON change (vehicle_id);
CREATE TABLE correction (
    vehicle_id INTEGER NOT NULL PRIMARY KEY REFERENCES vehicle (id) ON DELETE CASCADE, change INTEGER NOT NULL,
    kind VARCHAR NOT NULL, before JSON NOT NULL, owner_id INTEGER, account VARCHAR NOT NULL, created {time} NOT NULL);
"""
_FOUND = """
CREATE TABLE found (
    {id}, account VARCHAR NOT NULL, vehicle_id INTEGER NOT NULL REFERENCES vehicle (id) ON DELETE CASCADE,
    created {time} NOT NULL);
CREATE INDEX found_vehicle ON found (account, vehicle_id);
CREATE INDEX ix_found_vehicle_id ON found (vehicle_id);
CREATE INDEX ix_found_created ON found (created);
"""
_CAMERAS = """
ALTER TABLE sighting ADD COLUMN camera VARCHAR;
ALTER TABLE sighting ADD COLUMN place VARCHAR;

CREATE TABLE event (
    {id}, "key" VARCHAR NOT NULL UNIQUE, receiver VARCHAR NOT NULL, kind VARCHAR NOT NULL,
    sighting_id INTEGER NOT NULL REFERENCES sighting (id) ON DELETE CASCADE, body VARCHAR NOT NULL, expires {time},
    tries INTEGER NOT NULL, error VARCHAR NOT NULL, created {time} NOT NULL);
CREATE INDEX event_receiver ON event (receiver, id);
CREATE INDEX ix_event_sighting_id ON event (sighting_id);

CREATE TABLE taken_photo (
    camera VARCHAR NOT NULL, digest VARCHAR NOT NULL, sighting_id INTEGER REFERENCES sighting (id) ON DELETE SET NULL,
    created {time} NOT NULL, PRIMARY KEY (camera, digest));
CREATE INDEX ix_taken_photo_sighting_id ON taken_photo (sighting_id);
"""
_SIGHTINGS_BY_TIME = """
CREATE INDEX ix_sighting_created ON sighting (created);
CREATE INDEX ix_sighting_decision ON sighting (decision);
CREATE INDEX ix_incident_sighting_id ON incident (sighting_id);
"""
_LISTS_AND_TAGS = """
CREATE TABLE list_entry (
    {id}, kind VARCHAR NOT NULL, plate VARCHAR, folded VARCHAR,
    vehicle_id INTEGER REFERENCES vehicle (id) ON DELETE CASCADE, reason VARCHAR NOT NULL, flat VARCHAR NOT NULL,
    begins {time}, ends {time}, account VARCHAR NOT NULL, created {time} NOT NULL);
CREATE INDEX ix_list_entry_folded ON list_entry (folded);
CREATE INDEX ix_list_entry_vehicle_id ON list_entry (vehicle_id);
CREATE INDEX ix_list_entry_ends ON list_entry (ends);

ALTER TABLE vehicle ADD COLUMN tags JSON DEFAULT '[]' NOT NULL;
ALTER TABLE incident ADD COLUMN noted {time};
"""
_SENT_ONCE = """
CREATE TABLE sent_request (
    account VARCHAR NOT NULL, "key" VARCHAR NOT NULL, digest VARCHAR NOT NULL,
    sighting_id INTEGER REFERENCES sighting (id) ON DELETE CASCADE,
    incident_id INTEGER REFERENCES incident (id) ON DELETE CASCADE, photographs JSON, created {time} NOT NULL,
    PRIMARY KEY (account, "key"));
CREATE INDEX ix_sent_request_sighting_id ON sent_request (sighting_id);
CREATE INDEX ix_sent_request_incident_id ON sent_request (incident_id);
"""
_LATE_IN_VERSION_1 = ("shown", "imported", "ticket_use")  # added without a number of their own
_OF_VERSION_0 = ("owner", "vehicle", "plate", "view", "model", "embedding")  # what makes tables a register's


class Step(NamedTuple):
    """One upgrade of the tables.

    Args:
        version: of the tables afterwards.
        run: changes them, within the transaction of all steps: it must not commit. It sees rows as they were written by
            the version before.
    """

    version: int
    run: Callable[[Connection], None]


def run_sql(connection: Connection, script: str) -> None:
    """Run statements, each ended by a semicolon.

    `{id}`, `{time}` and `{vector}` stand for a table's own number, a point in time and an embedding in the words of the
    database at hand; statements hold no other brace or semicolon."""
    for statement in script.format(**_TYPES[connection.dialect.name]).split(";"):
        if statement.strip():
            connection.exec_driver_sql(statement)


def tables_of_version_1(connection: Connection) -> None:
    """Make the tables that are missing."""
    run_sql(connection, _TABLES_OF_VERSION_1)


def evidence_of_models(connection: Connection) -> None:
    """Add the calibrated evidence of a model."""
    run_sql(connection, "ALTER TABLE model ADD COLUMN evidence JSON;")


def confirmations_of_sightings(connection: Connection) -> None:
    """Add what persons say about answers."""
    run_sql(connection, _CONFIRMATION)


def corrections_of_vehicles(connection: Connection) -> None:
    """Add what undoes the last change of a vehicle."""
    run_sql(connection, _CORRECTION)


def vehicles_that_were_found(connection: Connection) -> None:
    """Add the vehicles that guards found by their plates."""
    run_sql(connection, _FOUND)


def cameras_and_events(connection: Connection) -> None:
    """Add the camera of a sighting, events on their way to receivers, and photographs that cameras left."""
    run_sql(connection, _CAMERAS)


def sightings_by_time(connection: Connection) -> None:
    """Add indexes for lists of sightings and incidents."""
    run_sql(connection, _SIGHTINGS_BY_TIME)


def lists_and_tags(connection: Connection) -> None:
    """Add lists of plates and vehicles, tags of vehicles, and when the owner was written to about an incident."""
    run_sql(connection, _LISTS_AND_TAGS)


def requests_sent_once(connection: Connection) -> None:
    """Add the keys of requests that are done once."""
    run_sql(connection, _SENT_ONCE)


STEPS: tuple[Step, ...] = (
    Step(1, tables_of_version_1),
    Step(2, evidence_of_models),
    Step(3, confirmations_of_sightings),
    Step(4, corrections_of_vehicles),
    Step(5, vehicles_that_were_found),
    Step(6, cameras_and_events),
    Step(7, sightings_by_time),
    Step(8, lists_and_tags),
    Step(9, requests_sent_once),
)
"""Oldest first. The last one's version is that of the schema."""


def bring_up_to_date(connection: Connection) -> None:
    """Take the steps that a register lacks, within the caller's transaction; no other writer runs meanwhile.

    Raises RegisterError, before anything is changed, for tables of a newer version and for those of another program."""
    tables = set(inspect(connection).get_table_names())
    held, latest = _held(connection, tables), STEPS[-1].version
    if held > latest:
        raise RegisterError(
            f"the register has tables of version {held}, this program knows them up to {latest}: use the version of "
            "the project that upgraded it, or a newer one, or restore the backup from before the upgrade"
        )
    if held == 1 and not tables.issuperset(_LATE_IN_VERSION_1):
        tables_of_version_1(connection)
    steps = [step for step in STEPS if step.version > held]
    if steps and held:
        _log.warning(
            "the register's tables are upgraded from version %d to %d; an older program opens its backup alone",
            held,
            latest,
        )
    for step in steps:
        step.run(connection)
    if steps:
        connection.execute(text("DELETE FROM setting WHERE name = 'version'"))
        connection.execute(text("INSERT INTO setting (name, value) VALUES ('version', :it)"), {"it": str(latest)})


def _held(connection: Connection, tables: set[str]) -> int:
    """The version of a register's tables: 0 without any, and for tables from before versions were kept."""
    if "setting" in tables:
        kept = connection.execute(text("SELECT value FROM setting WHERE name = 'version'")).scalar()
        if kept is not None:
            if not (kept.isascii() and kept.isdecimal() and len(kept) < 10):
                raise RegisterError(f"the register is damaged: its tables are of version {kept[:40]!r}")
            return int(kept)
    named = [name for name in _OF_VERSION_0 if name in tables]
    if named and len(named) < len(_OF_VERSION_0):
        raise RegisterError(
            f"the database has a table {named[0]!r} that is no register's: give the register a database of its own"
        )
    return 0
