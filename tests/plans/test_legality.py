"""Legality follows from the Program's axes."""

from __future__ import annotations

import pytest

from maquette.catalogue.models import model
from maquette.models.decoder import program
from maquette.plans.legality import extents, legal, staged
from maquette.plans.sharding import shards
from maquette.plans.types import Mesh, Plan


@pytest.mark.parametrize(
    ("name", "mesh", "reason"),
    [
        ("llama-3.1-8b", Mesh(tp=8), None),
        ("llama-3.1-8b", Mesh(tp=16), None),
        ("llama-3.1-8b", Mesh(tp=64), "query heads"),
        ("qwen2.5-7b", Mesh(tp=8), "28 query heads do not divide over tp 8"),
        ("qwen2.5-7b", Mesh(tp=4), None),
        ("llama-3.1-8b", Mesh(pp=64), "64 stages for 32 layers"),
        ("llama-3.1-8b", Mesh(tp=2, ep=2), "ep without experts"),
        ("mixtral-8x7b", Mesh(tp=8, ep=8), None),
        ("mixtral-8x7b", Mesh(tp=16, ep=16), "8 experts do not divide over ep 16"),
        ("mixtral-8x7b", Mesh(tp=4, ep=8), "ep 8 does not divide the 4 devices"),
        ("deepseek-v2", Mesh(tp=8, dp=1, ep=8), None),
    ],
)
def test_legal(name, mesh, reason):
    config = model(name)
    found = legal(program(config), config.layers, mesh)
    assert (found is None) == (reason is None), found
    if reason is not None:
        assert reason in str(found)


def test_extents_of_grouped_heads():
    found = extents(program(model("llama-3.1-70b")))
    assert (8, 8) in found["g"]
    assert (8, 8) in found["r"]


def test_shards_of_replicated_heads():
    values = shards(["g8", "r/g8"], {"tp": 16, "dp": 1, "ep": 1})
    assert values["g8"] * values["r/g8"] == 16
    assert values["g8"] == 8


@pytest.mark.parametrize(
    ("stages", "reason"),
    [
        ((), None),
        ((16, 16), None),
        ((20, 12), None),
        ((16, 15), "stages hold 31 of 32 layers"),
        ((32,), "stages of 32 layers for pp 2"),
    ],
)
def test_stages_spell_out_the_pipeline(stages, reason):
    found = staged(Plan(mesh=Mesh(pp=2), stages=stages), 32)
    assert (found is None) == (reason is None)
    if reason is not None:
        assert reason in str(found)
