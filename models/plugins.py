"""Plug-ins: readers, losses, backbones, tasks and partitioners of other packages.

A setting names one by its place, `mypackage.module:Member`, or by the name under which an installed package declares it
as an entry point of the group `fed_vehicle_reid.KIND`. Nothing is imported before it is used.
"""

import re
from collections.abc import Collection
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal, get_args

from models.errors import FedVehicleReidError

Kind = Literal["readers", "losses", "backbones", "tasks", "partitioners"]
_PLACE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)


class PlugInError(FedVehicleReidError, ValueError):
    """A plug-in that cannot be used; the message names module, member and remedy."""


def is_place(name: str) -> bool:
    """Whether a name is a place, `mypackage.module:Member`."""
    return _PLACE.fullmatch(name) is not None


def declared(kind: Kind) -> dict[str, EntryPoint]:
    """The plug-ins of a kind that installed packages declare, by name; of a name that two declare, the first."""
    return {name: found[0] for name, found in _declared(kind).items()}


def is_plug_in(kind: Kind, name: str) -> bool:
    """Whether a name, if it is not built in, is one of a plug-in."""
    return is_place(name) or name in declared(kind)


def place_of(kind: Kind, name: str, built_in: Collection[str] = ()) -> str | None:
    """The place of a plug-in; None for a name that is built in.

    Raises PlugInError for a name that nobody declares, that two packages declare, or that is built in and declared."""
    found = _declared(kind).get(name, [])
    if name in built_in:
        if found:
            raise PlugInError(
                f"{name} is built in, and {_package(found[0])} declares another of this name in {_group(kind)}: "
                f"rename it there, or uninstall {_package(found[0])}"
            )
        return None
    if is_place(name):
        return name
    places = {each.value for each in found}
    if len(places) > 1:
        packages = " and ".join(sorted({_package(each) for each in found}))
        raise PlugInError(f"{packages} both declare {name} in {_group(kind)}: name the one meant as module:member")
    if not places:
        raise PlugInError(
            f"no installed package declares {name} in {_group(kind)}: install its package, or name it as module:member"
        )
    return places.pop()


def load(kind: Kind, name: str, *, needs: Collection[str] = ()) -> Any:
    """The member that a setting names, with the attributes it must have.

    Raises PlugInError naming module and member where the module cannot be imported, or lacks the member or one of
    `needs`."""
    place = place_of(kind, name)
    assert place is not None
    module, _, member = place.partition(":")
    try:
        holder = import_module(module)
    except ModuleNotFoundError as error:
        hint = "install its package" if error.name and module.startswith(error.name) else f"it needs {error.name}"
        raise PlugInError(f"plug-in {name}: module {module} cannot be imported ({error}): {hint}") from error
    except Exception as error:
        raise PlugInError(
            f"plug-in {name}: module {module} cannot be imported ({type(error).__name__}: {error}): mend it there"
        ) from error
    found = holder
    for part in member.split("."):
        if not hasattr(found, part):
            raise PlugInError(f"plug-in {name}: module {module} has no {member}: see what it calls its {kind}")
        found = getattr(found, part)
    if lacking := [need for need in needs if not hasattr(found, need)]:
        raise PlugInError(f"plug-in {name}: {module}:{member} has no {', '.join(lacking)}, which one of {kind} needs")
    return found


@cache
def _declared(kind: Kind) -> dict[str, list[EntryPoint]]:
    found: dict[str, list[EntryPoint]] = {}
    for each in entry_points(group=_group(kind)):
        found.setdefault(each.name, []).append(each)
    return found


def _group(kind: Kind) -> str:
    assert kind in get_args(Kind)
    return f"fed_vehicle_reid.{kind}"


def _package(declaration: EntryPoint) -> str:
    return declaration.dist.name if declaration.dist else "a package"
