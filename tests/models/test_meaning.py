"""Every family's Program computes what a plain NumPy decoder computes."""

from __future__ import annotations

import numpy as np
import pytest

from maquette.ir.interpret import run
from maquette.models.config import Attention
from maquette.models.decoder import program
from maquette.models.huggingface import from_huggingface
from models.decoder_reference import Reference
from models.tiny import CONFIGS, empty_states, weights_of

B, S = 2, 7


def step(model, weights, ids, states, past):
    """One step: logits, and the states after it, windowed caches cut to what is still seen."""
    sizes = {"b": len(ids), "s": ids.shape[1], "t": past + ids.shape[1]}
    for name, window in model.windows.items():
        sizes[name] = min(past, window - 1) + ids.shape[1]
    out, after = run(model, {"ids": ids}, weights, states, sizes, precise=True)
    for place in after:
        i, name = place.split(".")
        value = model.parts[model.order[int(i)]].inputs[name]
        for axis, a in enumerate(value.axes):
            for window in model.windows:
                if a.name == "t" and window in a.size.symbols:
                    keep = min(after[place].shape[axis], model.windows[window] - 1)
                    start = after[place].shape[axis] - keep
                    after[place] = np.take(after[place], range(start, start + keep), axis)
    return out["logits"], after


@pytest.fixture(params=CONFIGS)
def case(request):
    hf = CONFIGS[request.param]
    config = from_huggingface(hf, request.param)
    model = program(config)
    ids = np.random.default_rng(1).integers(0, config.vocab, (B, S))
    return hf, config, model, weights_of(model), ids


def test_prefill_equals_the_plain_decoder(case):
    hf, config, model, weights, ids = case
    found, _ = step(model, weights, ids, empty_states(model, B), 0)
    expected = Reference(hf, config, weights).logits(ids)
    assert np.std(expected) > 1e-3
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("first", [1, 4, 6])
def test_prefill_then_decode_equals_prefill_of_all(case, first):
    _, _, model, weights, ids = case
    whole, _ = step(model, weights, ids, empty_states(model, B), 0)
    logits, states = step(model, weights, ids[:, :first], empty_states(model, B), 0)
    past = first
    while past < S:
        new = min(2, S - past) if first == 1 else 1  # chunks of two, or one by one
        logits, states = step(model, weights, ids[:, past : past + new], states, past)
        past += new
    np.testing.assert_allclose(logits, whole, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", ["deepseek-v2", "deepseek-v2-yarn", "deepseek-v3"])
def test_expanded_latent_attention_means_the_same(name):
    config = from_huggingface(CONFIGS[name], name)
    absorbed, expanded = program(config), program(config, absorbed=False)
    weights = weights_of(absorbed)
    ids = np.random.default_rng(1).integers(0, config.vocab, (B, S))
    first, states = step(expanded, weights, ids[:, :4], empty_states(expanded, B), 0)
    other, same = step(absorbed, weights, ids[:, :4], empty_states(absorbed, B), 0)
    np.testing.assert_allclose(first, other, rtol=1e-8, atol=1e-10)
    assert states.keys() == same.keys()
    last = [step(m, weights, ids[:, 4:], states, 4)[0] for m in (absorbed, expanded)]
    np.testing.assert_allclose(*last, rtol=1e-8, atol=1e-10)


def test_the_window_matters():
    """The windowed model is not the full one on the same weights, once the window is passed."""
    hf = CONFIGS["mistral"]
    windowed = program(from_huggingface(hf, "windowed"))
    full = program(from_huggingface({**hf, "sliding_window": None}, "full"))
    weights = weights_of(windowed)
    ids = np.random.default_rng(1).integers(0, 23, (B, S))
    near = [step(m, weights, ids[:, :3], empty_states(m, B), 0)[0] for m in (windowed, full)]
    far = [step(m, weights, ids, empty_states(m, B), 0)[0] for m in (windowed, full)]
    np.testing.assert_allclose(*near, rtol=1e-9)
    assert np.max(np.abs(far[0] - far[1])) > 1e-3


def test_order_of_tokens_matters_only_with_positions():
    """Attention without positions forgets the order of what precedes the last token."""
    hf = {**CONFIGS["llama"], "num_hidden_layers": 1}
    config = from_huggingface(hf, "one")
    layer = config.kinds["dense"]
    assert isinstance(layer.mixer, Attention)
    weights = weights_of(program(config))
    ids = np.array([[3, 5, 7, 11]])
    turned = ids[:, [2, 0, 1, 3]]
    states = empty_states(program(config), 1)
    there = [step(program(config), weights, i, states, 0)[0] for i in (ids, turned)]
    assert np.max(np.abs(there[0] - there[1])) > 1e-3
