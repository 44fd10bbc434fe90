"""Texts of the pages as they stand in templates, scripts and code, and the catalogues brought up to date with them:
`python tests/helpers/catalogues.py`."""

from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_file
from babel.messages.pofile import write_po

from app.web.language import ENGLISH, FOLDER, LANGUAGES, Language, catalogue

ROOT = Path(__file__).parents[2]
_METHODS = {
    "**/*.html": ("jinja2.ext:babel_extract", {"trimmed": "true", "newstyle_gettext": "true", "silent": "false"}),
    "**/*.js": ("javascript", {"parse_template_string": True}),
    "*.py": ("python", {}),
}
_HEADER = r"""# Texts of the register's pages: {name}.
msgid ""
msgstr ""
"Language: {locale}\n"
"Plural-Forms: {plural}\n"
"MIME-Version: 1.0\n"
"Content-Type: text/plain; charset=utf-8\n"
"Content-Transfer-Encoding: 8bit\n"

"""
_KEYWORDS = {**DEFAULT_KEYWORDS, "N_": None}


def extracted() -> Catalog:
    """The texts in their files, without line numbers: a line more elsewhere changes no catalogue."""
    found = Catalog(project="fed-vehicle-reid", charset="utf-8")
    for pattern, (method, options) in _METHODS.items():
        for path in sorted((ROOT / "app/web").glob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            for _, text, _, _ in extract_from_file(method, path, _KEYWORDS, options=options):
                found.add(text, locations=[(name, None)])
    return found


def write(language: Language, held: Catalog) -> None:
    """Write a catalogue to its file, in the order of its texts."""
    header = _HEADER.format(name=language.name, locale=held.locale, plural=held.plural_forms)
    with (FOLDER / language.locale / "LC_MESSAGES/register.po").open("wb") as file:
        file.write(header.encode())
        write_po(file, held, 120, omit_header=True, sort_output=True, ignore_obsolete=True, include_lineno=False)


def untranslated(held: Catalog) -> list[str]:
    """Texts of a catalogue without a translation."""
    return [str(message.id) for message in held if message.id and not all(message.string or [""])]


def main() -> None:
    """Bring the catalogues up to date: new texts have no translation yet, those that went are left out."""
    template = extracted()
    for language in LANGUAGES:
        if language != ENGLISH:
            held = catalogue(language.locale)
            held.update(template, no_fuzzy_matching=True, update_header_comment=False)
            held.obsolete.clear()
            write(language, held)
            print(f"{language.name}: to translate:", *untranslated(held), sep="\n  ")


if __name__ == "__main__":
    main()
