"""Table V from prices alone: a band, for nothing is fitted and the prompts are not published.

The machines compared with are priced by runs of engines that others published; the table is of an
engine nobody names, whose steps on an H100 are up to a third faster than those.
"""

from __future__ import annotations

import pytest

from maquette.search.table5 import priced_experts, priced_table5
from maquette.serve.composition import published

BAND = {"DGX A100": 0.25, "DGX H100": 0.50}


def test_all_eight_speedups_in_a_band_without_a_fit():
    for row in priced_table5():
        assert row.computed == pytest.approx(row.published, rel=BAND[row.baseline])


def test_experts_alone():
    found = priced_experts()
    assert found.keys() == published.EXPERT.keys()
    for key, ratio in found.items():
        assert ratio == pytest.approx(published.EXPERT[key], rel=BAND[key[0]])


def test_eight_links_take_most_of_it_away():
    one, eight = priced_table5(1), priced_table5(8)
    assert all(b.computed < a.computed for a, b in zip(one, eight, strict=True))
    assert eight[0].computed < 2.5 < 5 < one[0].computed


def test_shorter_prompts_favour_the_machine_of_fewer_launches():
    short, long = priced_table5(prompt=128), priced_table5(prompt=2048)
    assert all(a.computed > b.computed for a, b in zip(short, long, strict=True))
