"""Sections of the settings: pydantic checks them at construction, and the error names key, limit and value."""

import pickle
from dataclasses import asdict, field, replace
from typing import Annotated, Literal

import pytest
from pydantic import Field

from app.settings.checks import SettingsError
from app.settings.load import _typed
from app.settings.section import AtLeastOne, NotNegative, PathText, Share, section


@section("outer.inner")
class Inner:
    share: Share = 0.5
    names: list[Literal["red", "green"]] = field(default_factory=list)


@section("outer")
class Outer:
    count: AtLeastOne
    rate: NotNegative | None = None
    kind: Literal["", "median", "quantile"] | AtLeastOne = ""
    size: Annotated[int, Field(ge=16, le=64)] = 32
    stride: Literal[2, 4] = 2
    file: PathText = "."
    inner: Inner = field(default_factory=Inner)
    second: Inner | None = None

    def __post_init__(self):
        if self.size == self.count:
            raise SettingsError("outer.size and outer.count are the same")


WRONG = [
    ({}, "outer.count: Field required"),
    ({"count": 0}, "outer.count must be at least 1; got 0"),
    ({"count": True}, "outer.count: Input should be a valid integer; got True"),
    ({"count": "1"}, "outer.count: Input should be a valid integer; got '1'"),
    ({"count": 1, "rate": -0.5}, "outer.rate must be at least 0; got -0.5"),
    ({"count": 1, "rate": float("nan")}, "outer.rate must be a finite number; got nan"),
    ({"count": 1, "size": 65}, "outer.size must be at most 64; got 65"),
    ({"count": 32}, "outer.size and outer.count are the same"),
    (
        {"count": 1, "kind": "medien"},
        "outer.kind must be one of median, quantile, or a whole number; got 'medien'; did you mean median?",
    ),
    ({"count": 1, "kind": 0}, "outer.kind must be at least 1; got 0"),
    ({"count": 1, "stride": 3}, "outer.stride must be one of 2, 4; got 3"),
    ({"count": 1, "file": ""}, "outer.file must name a file or folder; got ''"),
    ({"count": 1, "cuont": 1}, "unknown key outer.cuont"),
]
INSIDE = [
    ({"inner": {"share": 1.5}}, "outer.inner.share must be at most 1; got 1.5"),
    ({"second": {"share": "x"}}, "outer.second.share: Input should be a valid number; got 'x'"),
    (
        {"second": {"names": ["red", "gren"]}},
        "outer.second.names[1] must be one of red, green; got 'gren'; did you mean green?",
    ),
    ({"second": {"names": "red"}}, "outer.second.names must be a list, such as 'outer.second.names=[red]'; got red"),
    ({"second": {"names": None}}, "outer.second.names must be a list; got None"),
    ({"second": {"names": True}}, "outer.second.names must be a list; got True"),
    ({"second": {"names": "a=b"}}, "outer.second.names must be a list; got a=b"),  # would need quotes
    ({"inner": {"sahre": 1}}, "unknown key outer.inner.sahre"),
    ({"inner": 5}, "outer.inner: Input should be an object; got 5"),
]


@pytest.mark.parametrize(("values", "said"), WRONG)
def test_what_does_not_fit_is_named_in_code(values, said):
    with pytest.raises(SettingsError) as caught:
        Outer(**values)
    assert str(caught.value) == said


@pytest.mark.parametrize(("values", "said"), [*WRONG, *(({"count": 1, **inner}, said) for inner, said in INSIDE)])
def test_and_in_a_file(values, said):
    with pytest.raises(SettingsError) as caught:
        _typed("outer", Outer, values)
    assert str(caught.value) == said


def test_a_section_is_a_frozen_dataclass():
    made = Outer(count=3, rate=1, inner=Inner(names=["red"]))
    assert (made.rate, type(made.rate)) == (1.0, float)
    assert _typed("outer", Outer, asdict(made)) == made
    assert pickle.loads(pickle.dumps(made)) == made
    assert replace(made, count=4) == Outer(count=4, rate=1, inner=Inner(names=["red"]))
    with pytest.raises(SettingsError, match=r"outer\.count must be at least 1; got -1"):
        replace(made, count=-1)
    with pytest.raises(AttributeError):
        made.count = 4
