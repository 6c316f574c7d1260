"""The strict loader: what it reads, what it refuses, and that it says all of it at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maquette.catalogue.loader import load, read_toml, structure
from maquette.errors import InputError
from maquette.machines.types import Fact
from maquette.units import UNITS, Bytes, BytesPerSecond, Nanoseconds, Seconds

T = TypeVar("T")


@dataclass(frozen=True)
class Inner:
    size: Bytes
    wait: Seconds | None = None

    def __post_init__(self) -> None:
        if self.size == 13:
            raise ValueError("is unlucky")


@dataclass(frozen=True)
class Outer:
    name: str
    count: int
    style: Literal["red", "blue"] = "red"
    inner: Inner | None = None
    parts: Mapping[str, Inner] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    pair: tuple[int, float] = (0, 0.0)
    share: float = 0.5
    layers: int | str = 0
    many: list[Inner] = field(default_factory=list)
    at: Nanoseconds | None = None
    rate: Fact[BytesPerSecond] | None = None
    on: bool = False


@dataclass(frozen=True)
class Box(Generic[T]):
    held: T


def faults(data: object, cls: type = Outer) -> list[str]:
    with pytest.raises(InputError) as caught:
        structure(cls, data, "f.toml")
    return [str(f) for f in caught.value.faults]


def one(**changes: object) -> str:
    found = faults({"name": "a", "count": 1, **changes})
    assert len(found) == 1, found
    return found[0]


def test_reads_every_kind_of_field() -> None:
    data = {
        "name": "a",
        "count": 3,
        "style": "blue",
        "inner": {"size": "80 GB", "wait": "4 us"},
        "parts": {"x": {"size": "1 KiB"}},
        "tags": ["t"],
        "pair": [1, 2],
        "share": 1,
        "layers": "all",
        "many": [{"size": "1 B"}],
        "at": 7,
        "rate": {"value": "3.35 TB/s", "kind": "datasheet", "source": "s"},
        "on": True,
    }
    assert structure(Outer, data) == Outer(
        "a",
        3,
        "blue",
        Inner(Bytes(80e9), Seconds(4e-6)),
        {"x": Inner(Bytes(1024))},
        ("t",),
        (1, 2.0),
        1.0,
        "all",
        [Inner(Bytes(1))],
        Nanoseconds(7),
        Fact(BytesPerSecond(3.35e12), "datasheet", "s"),
        True,
    )
    assert structure(Box[Seconds], {"held": "2 ms"}) == Box(Seconds(0.002))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"count": 1.0}, "count: 1.0 is a number; expected an integer"),
        ({"count": True}, "count: True is true or false; expected an integer"),
        ({"name": 3}, "name: 3 is an integer; expected a string"),
        ({"on": 1}, "expected true or false"),
        ({"share": "1"}, "share: '1' is a string; expected a number"),
        ({"layers": 1.5}, "expected an integer or a string"),
        ({"style": "rde"}, "style: 'rde' is not a choice; expected one of red, blue (did you mean"),
        ({"inner": "x"}, "inner: 'x' is a string; expected a table with keys size, wait"),
        ({"inner": {}}, "inner.size: is missing; expected a quoted quantity"),
        ({"inner": {"size": 80}}, "inner.size: 80 has no unit; expected a quoted quantity"),
        ({"inner": {"size": "80"}}, "inner.size: '80' has no unit"),
        ({"inner": {"size": "80 Gb"}}, "inner.size: '80 Gb' is in bits where bytes belong"),
        ({"inner": {"size": "80 GB/s"}}, "inner.size: '80 GB/s' has an unknown unit 'GB/s'"),
        ({"inner": {"size": True}}, "inner.size: True is true or false"),
        ({"inner": {"size": "13 B"}}, "inner: is unlucky"),
        ({"parts": {"x": {"sise": "1 B", "size": "1 B"}}}, "parts.x.sise: is not a known key (did"),
        ({"parts": [1]}, "parts: an array; expected a table"),
        ({"tags": "abc"}, "tags: 'abc' is a string; expected an array"),
        ({"tags": ["a", 1]}, "tags[1]: 1 is an integer"),
        ({"pair": [1]}, "pair: has 1 items; expected 2 items"),
        ({"many": [{"size": "1 B"}, {"size": "1 b"}]}, "many[1].size: '1 b' is in bits"),
        ({"rate": "3 TB/s"}, "rate: '3 TB/s' is a string; expected a table with keys value, kind"),
        (
            {"rate": {"value": "3 TB/s", "kind": "datashet", "source": ""}},
            "did you mean datasheet?",
        ),
        ({"nmae": 1}, "nmae: is not a known key (did you mean name?)"),
    ],
)
def test_refuses_and_says_why(changes: dict[str, object], says: str) -> None:
    message = one(**changes)
    assert message.startswith("f.toml: ") and says in message


def test_all_faults_at_once_with_their_paths() -> None:
    found = faults(
        {
            "count": "1",
            "extra": 0,
            "inner": {"size": 1, "wait": "1 GB"},
            "parts": {"a": {}, "b": {"size": "1 Mb"}, "c": {"size": "1 MB"}},
            "tags": [1, "x", 2],
        }
    )
    where = [f.split(": ")[1] for f in found]
    assert sorted(where) == sorted(
        [
            *("name", "count", "extra", "inner.size", "inner.wait"),
            *("parts.a.size", "parts.b.size", "tags[0]", "tags[2]"),
        ]
    )


def test_files_that_cannot_be_read(tmp_path) -> None:  # type: ignore[no-untyped-def]
    def refused(text: bytes) -> str:
        path = tmp_path / "m.toml"
        path.write_bytes(text)
        with pytest.raises(InputError) as caught:
            read_toml(path)
        return str(caught.value)

    assert "m.toml" in refused(b"a = 1\nb = = 2\n") and "line 2" in refused(b"a = 1\nb = = 2\n")
    assert "line 3" in (twice := refused(b"a = 1\nb = 2\na = 3\n")) and "appears twice" in twice
    assert "appears twice" in refused(b"[t]\na = 1\n[t]\nb = 2\n")
    assert "quote quantities" in refused(b"a = 80 GB\n")
    assert "UTF-8" in refused(b"a = '\xff'\n")
    for missing in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            read_toml(missing)


def test_load_names_the_file(tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "x.toml").write_text('name = "a"\n')
    with pytest.raises(InputError, match=r"^x\.toml: count: is missing"):
        load(Outer, tmp_path / "x.toml")


@settings(deadline=None)
@given(st.sampled_from(sorted(UNITS["Bytes"].items())), st.integers(0, 10**6))
def test_a_quantity_is_its_number_times_its_unit(unit: tuple[str, float], n: int) -> None:
    assert structure(Inner, {"size": f"{n + 14} {unit[0]}"}).size == (n + 14) * unit[1]


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "size", "inner", "x", "kind"]), inner, max_size=4
        )
    ),
    max_leaves=8,
)


@settings(deadline=None)  # the first example pays for building the hooks
@given(st.dictionaries(st.sampled_from([*Outer.__dataclass_fields__, "zz"]), json, max_size=6))
def test_whatever_comes_it_loads_or_raises_input_error(data: dict[str, object]) -> None:
    try:
        loaded = structure(Outer, data, "f.toml")
    except InputError as error:
        assert error.faults and all(f.where.startswith("f.toml") for f in error.faults)
    else:
        assert isinstance(loaded.name, str) and type(loaded.count) is int
