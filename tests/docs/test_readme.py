"""The README shows what `make plan` prints now, and a picture of the page."""

from __future__ import annotations

import importlib.util
import re
from functools import cache
from types import ModuleType

import pytest

from docs.blocks import ROOT


@cache
def refresh() -> ModuleType:
    spec = importlib.util.spec_from_file_location("refresh", ROOT / "docs" / "refresh.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shown() -> str:
    found = refresh().BLOCK.search((ROOT / "README.md").read_text(encoding="utf-8"))
    assert found is not None
    return re.sub(r"^```\w*$", "", found.group(), flags=re.MULTILINE)


def test_the_readme_shows_what_is_printed_now():
    said = refresh().printed()
    again = "the README shows another answer: python docs/refresh.py"
    assert len(shown().splitlines()) > 20 and refresh().matches(shown(), said), again


def test_the_makefile_asks_what_the_readme_shows():
    values = dict(re.findall(r"^(MODEL|ON|FOR) \?= (.+)$", (ROOT / "Makefile").read_text(), re.M))
    asked = ("plan", values["MODEL"], "--on", values["ON"], "--for", values["FOR"])
    assert asked == refresh().PLAN


OUTPUT = "model a\n\nwinner\ncost 1\ncost 2\n\nseed 0\n"


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("model a\nwinner\ncost 1\ncost 2\nseed 0", True),
        ("model a\n…\nseed 0", True),
        ("model a\n…", True),
        ("…\ncost 2\nseed 0", True),
        ("model b\n…", False),
        ("model a\n…\ncost 3\n…", False),
        ("model a\nwinner\ncost 2\n…", False),  # a line is missing and nothing says so
        ("model a\nwinner", False),  # and so are those at the end
        ("…\nseed 0\nmodel a", False),
    ],
)
def test_only_what_is_elided_may_be_missing(text, same):
    assert refresh().matches(text, OUTPUT) is same


def test_a_block_of_an_output_matches_it():
    said = "warning: none\nmodel a\non b\n\nThe winner\nplan c\n\nother\nd\n"
    made = refresh().block(said)
    assert "…" in made and "other" not in made
    assert refresh().matches(re.sub(r"^```\w*$", "", made, flags=re.MULTILINE), said)


def test_the_picture_is_small():
    picture = refresh().PICTURE
    assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size <= 200_000
