"""Surfaces against machines simulated tile by tile, which share no formula with them.

Fitted on shapes of the calibration split, scored on the others, and on a machine no row of which
was seen; beside the null model of 75 % of the peak, 80 % of the bandwidth and 3 µs.
"""

from __future__ import annotations

import csv
from dataclasses import replace
from itertools import product

import pytest

from maquette.catalogue.calibrations import find
from maquette.machines.types import Fact
from maquette.validate.evidence import measured
from maquette.validate.kernel_scores import calibrating, fitted, score, scoring
from maquette.validate.rows import read
from validate import hidden_world as world
from validate.test_published import script

GPUS = {"h100-sxm": world.H100, "a100-80gb": world.A100}
# Median and 90th percentile of the error on shapes not fitted.
WITHIN = {
    "products": (0.05, 0.15), "fused experts": (0.12, 0.35), "prefill attention": (0.10, 0.30),
    "decode attention": (0.10, 0.30),
}  # fmt: skip


def rows(gpu, name):
    """Kernels of one machine, by file."""
    made = [
        [name, "bfloat16", m, n, k, world.noisy(world.product(gpu, m, n, k), m, n, k)]
        for m in (1, 16, 64, 128, 256, 384, 1024, 2048, 4096, 16384)
        for n, k in product(
            (512, 1280, 2560, 4096, 6144, 8192, 10240, 28672), (1024, 4096, 8192, 14336)
        )
    ]
    yield "kernel_gemm", "hardware,precision,m,n,k,latency_s", made
    made = []
    for b, s, h, d in product((1, 4, 16), (256, 512, 1024, 2048, 8192), (8, 32, 64), (64, 128)):
        if b * s <= 32768:
            took = world.noisy(world.prefill(gpu, b, s, 0, h, 8, d), b, s, h, d)
            made.append([name, "prefill", b, h, 8, d, s, 0, "bf16", took])
    for b, c, kv in product((1, 4, 16, 64, 256), (512, 2048, 8192, 32768), (1, 2, 4, 8)):
        if b * c * kv <= 2**24:
            took = world.noisy(world.decode(gpu, b, c, 8 * kv, kv, 128), b, c, kv)
            made.append([name, "decode", b, 8 * kv, kv, 128, 1, c - 1, "bf16", took])
    headings = "hardware,phase,batch,heads,kv_heads,head_dim,input_tokens,context_tokens,precision"
    yield "kernel_attention", headings + ",latency_s", made
    made = [
        [name, "bf16", m, *of, world.noisy(world.experts(gpu, m, *of), m, *of)]
        for m in (1, 4, 16, 64, 256, 1024, 4096, 16384)
        for of in ((4096, 14336, 8, 2), (4096, 1536, 128, 8), (2880, 2880, 32, 4))
    ]
    yield "kernel_moe", "hardware,precision,m,hidden,inter,experts,topk,latency_s", made


def fits(folder, known):
    """Kernels by machine, a shelf with the machines of that world, and their calibrations."""
    machines = dict(known.machines)
    for name, gpu in GPUS.items():
        for file, headings, made in rows(gpu, name):
            with (folder / f"{file}_{name}.csv").open("w", newline="") as stream:
                csv.writer(stream).writerows([headings.split(","), *made])
        best = 2 * 16384 * 8192 * 8192 / world.product(gpu, 16384, 8192, 8192)
        facts = replace(machines[name].compute, ceiling={"bf16": Fact(best, "measured", "world")})
        other = next(n for n in GPUS if n != name)
        machines[name] = replace(machines[name], compute=facts, transfer_from=other)
    shelf = replace(known, machines=machines)
    reading = read(folder)
    kernels = {n: list(measured(reading, shelf, n)) for n in GPUS}
    cals = {n: fitted(kernels[n], shelf, n, calibrating) for n in GPUS}
    return reading, kernels, shelf, cals


@pytest.fixture(scope="module")
def held(known, tmp_path_factory):
    return fits(tmp_path_factory.mktemp("world"), known)


@pytest.mark.parametrize("name", GPUS)
def test_unseen_shapes(held, name):
    _, kernels, _, cals = held
    found = {s.what: s for s in score(kernels[name], cals[name], name, "", scoring)}
    assert set(found) == set(WITHIN)
    for what, (median, tail) in WITHIN.items():
        assert found[what].errors.n >= 10
        assert found[what].errors.ape_p50 <= median, (what, found[what])
        assert found[what].errors.ape_p90 <= tail, (what, found[what])
        null = found[what].null
        assert found[what].errors.ape_p90 < null.ape_p90, (what, found[what])


@pytest.mark.parametrize(("donor", "name"), [tuple(GPUS), tuple(GPUS)[::-1]])
def test_a_machine_without_rows(held, donor, name):
    _, kernels, shelf, cals = held
    moved = find(shelf.machines[name], "", own=[cals[donor]], shipped=False)
    assert moved.basis == "transferred"
    found = {s.what: s.errors for s in score(kernels[name], moved, name, "", scoring)}
    assert found["products"].ape_p50 <= 0.12 and found["products"].ape_p90 <= 0.30
    assert found["decode attention"].ape_p50 <= 0.12


def test_fits_are_not_of_scored_rows(held):
    _, kernels, _, _ = held
    for m in kernels["h100-sxm"]:
        assert not (calibrating(m) & scoring(m)).any()
        assert 0.2 < calibrating(m)[m.rows].mean() < 0.7


def test_the_script_prints_both_of_any_folder(held):
    reading, _, shelf, _ = held
    lines = list(script("kernels").own(reading, shelf))
    assert len(lines) == 2 * len(GPUS) * len(WITHIN)
    assert sum("from others" in line for line in lines) == len(GPUS) * len(WITHIN)
    products = [line for line in lines if line.startswith("| products, h100-sxm |")]
    assert len(products) == 1 and float(products[0].split("|")[3].strip(" %")) <= 5.0
