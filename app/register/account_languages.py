"""Languages that accounts chose for their pages, among the settings of the register."""

from app.register.database import Database
from app.register.schema import Setting


def language_of_account(database: Database, account: str) -> str | None:
    """The tag of the language that an account chose; None if it chose none."""
    with database.reading() as session:
        kept = session.get(Setting, _name(account))
    return kept.value if kept else None


def keep_language(database: Database, account: str, tag: str) -> None:
    """Keep the language that an account chose."""
    with database.writing() as session:
        session.merge(Setting(name=_name(account), value=tag))


def _name(account: str) -> str:
    return f"language of {account}"
