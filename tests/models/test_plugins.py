"""Plug-ins by place and by entry point, and what is said of those that cannot be used."""

import sys

import pytest
from plug_ins import install, packages  # noqa: F401 - a fixture

from models.plugins import PlugInError, declared, is_place, load, place_of


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("mine:Loss", True),
        ("mine.parts:Loss", True),
        ("triplet", False),
        ("cuda:1", False),
        ("hf-hub:timm/vit", False),
        ("mine:", False),
        (":Loss", False),
        ("mine:Loss.inner", False),
        ("../mine:Loss", False),
        ("mine:Loss\n", False),
    ],
)
def test_a_place_is_module_and_member(name, place):
    assert is_place(name) is place


def test_a_member_is_found_by_its_place_and_by_its_declared_name(packages):  # noqa: F811
    install(
        packages, "mine", {"losses": {"circle": "mine_losses:Circle"}}, mine_losses="class Circle:\n    scale = 1\n"
    )
    assert list(declared("losses")) == ["circle"]
    assert "mine_losses" not in sys.modules
    assert load("losses", "circle") is load("losses", "mine_losses:Circle") is sys.modules["mine_losses"].Circle


def test_a_name_is_of_its_kind_alone(packages):  # noqa: F811
    install(packages, "mine", {"losses": {"circle": "mine_losses:Circle"}})
    with pytest.raises(
        PlugInError, match=r"no installed package declares circle in fed_vehicle_reid\.readers: install"
    ):
        load("readers", "circle")


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("nowhere:X", r"plug-in nowhere:X: module nowhere cannot be imported .*: install its package"),
        ("mine_parts.inner:X", r"module mine_parts.inner cannot be imported"),
        ("needs_more:X", r"module needs_more cannot be imported .*: it needs not_there"),
        ("broken:X", r"module broken cannot be imported \(ZeroDivisionError: division by zero\): mend it there"),
        ("mine_parts:Y", r"module mine_parts has no Y"),
        ("mine_parts:X", r"mine_parts:X has no train, evaluation, which one of readers needs"),
    ],
)
def test_what_cannot_be_used_is_named_with_module_member_and_remedy(packages, place, message):  # noqa: F811
    install(packages, "mine", {}, mine_parts="class X: pass\n", needs_more="import not_there\n", broken="1 / 0\n")
    with pytest.raises(PlugInError, match=message):
        load("readers", place, needs=("train", "evaluation"))


def test_a_declared_name_that_is_built_in_is_refused(packages):  # noqa: F811
    install(packages, "mine", {"losses": {"triplet": "mine:Triplet"}})
    with pytest.raises(PlugInError, match=r"triplet is built in, and mine declares another .*: rename it there"):
        place_of("losses", "triplet", ["triplet"])


def test_a_name_that_two_packages_declare_is_refused_and_its_place_is_not(packages):  # noqa: F811
    install(packages, "mine", {"losses": {"circle": "mine:Circle"}}, mine="Circle = 1\n")
    install(packages, "yours", {"losses": {"circle": "yours:Circle"}}, yours="Circle = 2\n")
    with pytest.raises(PlugInError, match="mine and yours both declare circle"):
        load("losses", "circle")
    assert load("losses", "yours:Circle") == 2
