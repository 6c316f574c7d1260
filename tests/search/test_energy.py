"""Joules of what was done, charged to the devices that did it."""

from __future__ import annotations

import numpy as np
import pytest

from maquette.catalogue.calibrations import find
from maquette.catalogue.engines import engine
from maquette.catalogue.machines import system
from maquette.catalogue.models import model
from maquette.plans.types import Policy, Precision
from maquette.search.deployment import deploy
from maquette.search.simulation import run
from maquette.search.types import Wish
from maquette.serve.energy import joules, work_done
from maquette.traffic import generate, synthetic
from maquette.traffic.types import Requests

POLICY = Policy(prefix_caching=False)


def deployed(name="llama-3.1-8b", on="h100x8", **choice):
    where = system(on)
    cal = find(where.machine, "vllm")
    precision = Precision()
    return deploy(
        model(name), where, engine("vllm"), cal, precision=precision, policy=POLICY, **choice
    )


def done(held, requests):
    trace = run(held, requests, draws=0).trace
    return trace, work_done(held.schedule, held.system.machine, held.plan, trace)


def one(prompt, output):
    return Requests(np.array([0]), np.array([prompt]), np.array([output]))


@pytest.mark.parametrize("tp", [1, 2, 4])
def test_flops_of_one_request_in_closed_form(tp):
    """Twice the weights for each token, and attention; however many devices share it."""
    held = deployed(wish=Wish(tp=tp), replicas=1)
    _, (flops, _) = done(held, one(1000, 101))
    products = 8_030_261_248 - 2 * 128256 * 4096
    head = 128256 * 4096
    pairs = 1000 * 1001 / 2 + sum(range(1001, 1101))
    exact = 2 * products * 1100 + 2 * head * 101 + 32 * 4 * 32 * 128 * pairs
    assert flops == pytest.approx(exact, rel=0.03)  # norms, activations and rotations besides


def test_bytes_of_decoding_are_weights_and_cache_at_each_step():
    held = deployed(wish=Wish(tp=1), replicas=1)
    _, (_, few) = done(held, one(1000, 2))
    _, (_, many) = done(held, one(1000, 102))
    weights = 2 * (8_030_261_248 - 128256 * 4096)
    cache = 32 * 2 * 8 * 128 * 2 * sum(range(1002, 1102))
    assert many - few == pytest.approx(100 * weights + cache, rel=0.01)


@pytest.mark.parametrize("pp", [2, 4])
def test_a_pipeline_does_the_same_work(pp):
    requests = generate(synthetic(rate=2.0, input_tokens=500, output_tokens=50), 30, seed=0)
    _, (one_, _) = done(deployed(wish=Wish(pp=1, tp=1), replicas=1), requests)
    _, (cut, _) = done(deployed(wish=Wish(pp=pp, tp=1), replicas=1), requests)
    assert cut == pytest.approx(one_, rel=1e-6)


def test_prefill_apart_does_the_same_work_on_its_own_mesh():
    requests = generate(synthetic(rate=2.0, input_tokens=700, output_tokens=60), 60, seed=0)
    _, (together, _) = done(deployed(wish=Wish(tp=2), replicas=1), requests)
    trace, (apart, moved) = done(
        deployed(wish=Wish(tp=2), replicas=1, prefill=Wish(tp=4), prefill_replicas=1), requests
    )
    assert apart == pytest.approx(together, rel=0.02)
    assert moved > 0
    assert (trace.status == 0).all()


def test_latents_are_attended_in_one_form_each():
    """DeepSeek-V2-Lite: prompts attend expanded, decoding absorbed, never both."""
    held = deployed("deepseek-v2-lite", wish=Wish(tp=1), replicas=1)
    _, (short, _) = done(held, one(2000, 2))
    _, (long_, _) = done(held, one(4000, 2))
    config = model("deepseek-v2-lite")
    heads, layers = 16, config.layers
    pairs = (4000 * 4001 - 2000 * 2001) / 2
    attention = layers * heads * 2 * (128 + 64 + 128) * pairs
    active = 2 * 2.2e9 * 2000
    assert long_ - short == pytest.approx(active + attention, rel=0.15)


def test_energy_lies_between_idle_and_the_rated_power():
    held = deployed(wish=Wish(tp=1), replicas=2)
    requests = generate(synthetic(rate=20.0, input_tokens=800, output_tokens=100), 200, seed=0)
    trace, _ = done(held, requests)
    low, high = joules(held.schedule, held.system.machine, held.plan, trace)
    seconds = trace.end_ns * 1e-9 * 2
    assert 90 * seconds < low <= high <= 700 * seconds
