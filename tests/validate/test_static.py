"""Static batches priced in one walk equal the clock's step model taken step by step."""

from __future__ import annotations

import numpy as np
import pytest

from maquette.plans.types import Plan
from maquette.price.replica import replica
from maquette.price.seconds import IDEAL
from maquette.validate.static import prepare, seconds
from validate.synthetic import grid, truth


def step_by_step(known, machine, engine, model, shape, cal):
    batch, inputs, outputs, _ = shape
    e = known.engines[engine]
    b = grid(known, machine, engine, model, [shape])
    step = replica(b.schedule, b.machine, e, Plan(policy=e.policy), cal).step
    prompts = max(e.policy.max_batched_tokens // inputs, 1)  # whole prompts a step
    steps = -(-batch // prompts)
    tokens = batch * inputs / steps
    took = steps * (step.overhead + step.prefill)
    took += steps * np.interp(tokens, np.arange(len(step.tokens)), step.tokens)
    took += steps * np.interp(batch / steps, np.arange(len(step.seqs)), step.seqs)
    for a in step.attention:
        pairs = sum(min(k + 1, a.window or inputs) for k in range(inputs))
        took += batch * max(a.pair * pairs, a.read * inputs)
    first = took
    for k in range(1, outputs):
        took += step.overhead + step.tokens[batch] + step.seqs[batch]
        for a in step.attention:
            reach = min(inputs + k, a.window) if a.window else inputs + k
            took += (a.at[:, batch] + a.slope[:, batch] * batch * reach).max()
    return first, took


@pytest.mark.parametrize("model", ["llama-3-8b", "mistral-7b", "qwen1.5-moe-a2.7b", "mamba2-2.7b"])
@pytest.mark.parametrize("shape", [(1, 512, 64, 1), (16, 1024, 128, 1), (8, 6000, 40, 1)])
def test_equals_the_clock_step_by_step(known, model, shape):
    cal = truth()
    took = seconds(prepare(grid(known, "h100-sxm", "vllm-0.6", model, [shape])), cal)
    first, whole = step_by_step(known, "h100-sxm", "vllm-0.6", model, shape, cal)
    assert took.ttft[0] == pytest.approx(first, rel=2e-3)
    assert took.e2e[0] == pytest.approx(whole, rel=2e-3)


def test_sequences_that_do_not_fit_wait_for_the_next_wave(known):
    # 40 GB hold 19 sequences of 2048 tokens of Llama 2 7B beside its weights.
    shapes = [(b, 1024, 1024, 1) for b in (16, 19, 20, 38)]
    held = prepare(grid(known, "a100-40gb", "vllm-0.6", "llama-2-7b", shapes))
    took = seconds(held, truth()).e2e
    fit = held.sequences[3]
    assert 16 < fit < 24 and held.sequences[0] == 16
    assert took[3] > 1.9 * took[0]
    assert all(np.diff(took) > 0)


def test_what_cannot_run_says_why_and_is_never_finite(known):
    shapes = [(1, 100, 100, 1), (1, 100, 100, 8)]
    held = prepare(grid(known, "a100-40gb", "vllm-0.6", "llama-3-70b", shapes))
    assert held.why[0].startswith("does not fit: weights") and held.why[1] == ""
    took = seconds(held, truth())
    assert np.isinf(took.e2e[0]) and np.isfinite(took.e2e[1])


def test_nothing_beats_the_speed_of_light(known):
    shapes = [(b, i, 64, tp) for b in (1, 7, 64) for i in (100, 3000) for tp in (1, 2, 4)]
    held = prepare(grid(known, "h100-sxm", "vllm-0.6", "llama-3-8b", shapes))
    ideal, real = seconds(held, IDEAL), seconds(held, truth())
    for quantity in ("ttft", "tpot", "e2e"):
        assert np.all(getattr(ideal, quantity) < getattr(real, quantity))


def test_tokens_of_one_are_a_prefill(known):
    took = seconds(
        prepare(grid(known, "h100-sxm", "vllm-0.6", "llama-3-8b", [(4, 256, 1, 1)])), truth()
    )
    assert took.e2e[0] == took.ttft[0]
