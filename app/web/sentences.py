"""Sentences of errors that people may see on a page, and their translation. The API and logs have them in English."""

import re
from functools import cache, partial

from babel.support import NullTranslations

from app.web.marks import N_

ERRORS = (
    # the service itself
    N_("too many log-ins are waiting; try again in a moment"),
    N_("too many identifications are waiting; try again in a moment"),
    N_("too many log-ins failed; try again in some minutes"),
    N_("name and password do not belong together"),
    N_("the old password is not right"),
    N_("the new password is the old one"),
    N_("your own password is changed on its page, with the old one"),
    N_("this Idempotency-Key came with another request before"),
    N_("log in first"),
    N_("this Idempotency-Key came with another request before"),
    N_("this library was not calibrated"),
    N_("{file} is missing: calibrate again"),
    N_("there is no such image"),
    N_("the image {name} is damaged"),
    N_("a guard sees one page: type more of the plate than {number} characters"),
    N_("{given} photos at once; the most is {most}"),
    N_("{table} has more than {number} rows: give as many at once"),
    N_("the register is not open"),
    N_("enrolling needs the role manager"),
    N_("there are no pages in this language"),
    N_("there are no such messages"),
    N_("this form is not of your session: load the page again"),
    N_("this needs a log-in with a password, not a token"),
    N_("this needs the role {needed}; yours is {own}"),
    N_("a box has left, top, width and height, not {number} numbers"),
    N_("the disk is full; nothing was changed"),
    N_("a file of the service cannot be used: {place}: {reason}; ask the operator"),
    N_("Not Found"),
    N_("Method Not Allowed"),
    N_("the register's database does not answer; try again in a moment"),
    N_("the register's database went away while it wrote; the change may have been kept: look before you repeat it"),
    N_("too many requests wait for the database; nothing was changed, try again"),
    N_("another process is writing to the register; nothing was changed, try again"),
    N_("the register has no network yet: give it one with `reembed --run RUN_FOLDER`"),
    N_("the register has other tables: {reason}"),
    # vehicles and owners
    N_("there is no {what} {number}"),
    N_("vehicle {number} has this plate already"),
    N_("vehicle {number} has no owner"),
    N_("give the number of an owner, or name, flat and contact"),
    N_("a flat or a contact needs an owner"),
    N_("an owner needs a name; owner number 0 takes the owner away from the vehicle"),
    N_(
        "somebody else changed vehicle {number} meanwhile; nothing was changed: "
        "load it again, and repeat what is still needed"
    ),
    N_("vehicle {number} has no image {image}"),
    N_("image {image} is the only one of vehicle {number}: add another one first"),
    N_("vehicle {number} has no last change that can be undone"),
    N_("image {image} was changed by somebody else meanwhile; nothing was changed"),
    N_("the model of the register changes again and again"),
    N_("vehicle {number} cannot be merged with itself"),
    N_("the {what} of vehicle {chosen} cannot stay: {first} and {second} are merged"),
    N_(
        "vehicles {first} and {second} have different {what}s: "
        "say whose {stays} stays, with `{field}_of` {one} or {other}"
    ),
    N_("owner {number} was forgotten meanwhile: the merge cannot be undone"),
    N_("not a plate: {text}"),
    # sightings, incidents, confirmations
    N_("an incident needs a kind"),
    N_("there is no vehicle {number} that an answer showed to you"),
    N_("there is no sighting {number} of yours"),
    N_("an unsure answer names nobody: say which vehicle it was, or none"),
    N_("the vehicle of this answer was forgotten"),
    N_("nothing was confirmed about sighting {number}"),
    N_("a vehicle belongs to the answer `vehicle`, and to no other"),
    N_("sightings are kept for 1 to {most} days, or for ever; got {days}"),
    N_("the register is damaged: sightings are kept for {days} days"),
    # lists, tags, notes
    N_("the kind of a list entry is {known}, not {given}"),
    N_("an entry of kind {kind} needs a plate, or the number of a registered vehicle, not both"),
    N_("a list holds whole plates, without * and ?"),
    N_("the end of the entry is in the past"),
    N_("a visitor needs an end: until when?"),
    N_("the end of the entry is not after its begin"),
    N_(
        "list entry {number} has the kind {kind}: what is denied and allowed at one time helps nobody; "
        "remove that entry first, or give it an end"
    ),
    N_("the {what} {given} is no day such as 2026-12-24 and no time such as 2026-12-24 14:00"),
    N_("column kind takes {known}, not {given}"),
    N_("column vehicle is no number of a vehicle: {given}"),
    N_("the table is over {number} MiB"),
    N_("give one table"),
    N_("a tag is a word of at most {number} characters without comma, not {given}"),
    N_("a vehicle has at most {most} tags; these are {number}"),
    N_("no [[mail]] in {file} has notes = true"),
    N_("the owner was written to about incident {number}: {time}"),
    N_("incident {number} is about no vehicle with a known owner"),
    N_("the owner's contact is no mail address"),
    N_("there is no incident {number} of yours"),
    # accounts
    N_("a token lasts 1 to 3650 days"),
    N_("there is no account {name}"),
    N_("a password has {shortest} to {longest} letters"),
    N_("the last admin cannot be taken away"),
    N_("the new password is the old one"),
    N_("your own password is changed on its page, with the old one"),
    N_("there is no token {number}"),
    N_("an account needs a name of at most {number} letters, without brackets and control characters"),
    N_("the name {name} {fault}; use one"),
    N_("there is an account {name} already"),
    N_("the name {name} looks like that of the account {other}; choose another"),
    # photographs
    N_("there is no photo"),
    N_("more than {number} MiB"),
    N_("modality must be one of {known}; got {given}"),
    N_("box {box}: left, top, width and height must be finite numbers"),
    N_("box {box}: width and height must be more than 0"),
    N_("box {box} lies outside the image of {width} x {height} pixels"),
    N_("not left,top,width,height: {text}"),
    N_("{given} {what} for {number} photos"),
    N_("{width} x {height} pixels show no vehicle"),
    N_("{width} x {height} pixels, more than {most}"),
    N_("several channels of 16 bits; one of 16, or several of 8, can be read"),
    N_("{format} of this kind ({name}) with more than {most} bytes; save it as PNG"),
    N_("cannot be read: {reason}"),
    N_("holds values that are not finite numbers"),
    N_("not an image ({formats})"),
    N_("more than {most} pixels"),
)
WORDS = {"what", "stays", "needed", "own", "kind"}
"""Values that are words of the register themselves."""
_PLACE = re.compile(r"\{(\w+)\}")


@cache
def patterns() -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    """For each sentence a regular expression that Python and browsers read, the sentence, and the names of its values;
    those with most fixed words come first."""
    ordered = sorted(ERRORS, key=lambda text: len(_PLACE.sub("", text)), reverse=True)
    return tuple((_expression(text), text, tuple(_PLACE.findall(text))) for text in ordered)


def translated(text: str, translations: NullTranslations) -> str:
    """A text in another language: as the catalogue has it, or as an error with values, also behind the name of a file
    and a colon; otherwise as it is."""
    if not text or (found := translations.gettext(text)) != text:
        return found if text else ""
    for expression, sentence, names in patterns():
        if names and (match := re.fullmatch(expression, text, re.DOTALL)):
            values = dict(zip(names, match.groups(), strict=True))
            values |= {name: translations.gettext(values[name]) for name in WORDS & values.keys()}
            return _PLACE.sub(partial(_value, values), translations.gettext(sentence))
    name, colon, rest = text.partition(": ")
    if colon and (said := translated(rest, translations)) != rest:
        return f"{name}: {said}"
    return text


def subject(text: str, translations: NullTranslations) -> str:
    """The subject of a line of the trail, such as "vehicle 7": its word in another language, and its number."""
    word, blank, number = text.rpartition(" ")
    return f"{translated(word, translations)}{blank}{number}"


def _value(values: dict[str, str], place: re.Match[str]) -> str:
    return values.get(place[1], place[0])


def _expression(text: str) -> str:
    return "(.+?)".join(re.escape(part) for part in _PLACE.split(text)[::2])
