"""Modules of the usual families mean what torch computes, through either recorder."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from capture import modules  # noqa: E402
from capture.oracle import same  # noqa: E402
from maquette.capture import capture  # noqa: E402
from maquette.ir import Input  # noqa: E402

CASES = {
    "llama": (lambda: modules.Llama(layers=2), (2, 7, 32)),
    "llama with fused attention": (lambda: modules.Llama(layers=1, fused=True), (2, 7, 32)),
    "ViT": (modules.ViT, (2, 3, 16, 16)),
    "detector": (modules.Detector, (2, 3, 16, 16)),
    "mixer": (modules.Mixer, (2, 6, 8)),
    "mamba, loop": (modules.Mamba, (2, 6, 8)),
    "mamba, prefix sums": (lambda: modules.Mamba(loop=False), (2, 6, 8)),
    "experts": (modules.Experts, (2, 5, 8)),
}


def example(name):
    torch.manual_seed(1)
    make, shape = CASES[name]
    return make().eval(), torch.randn(shape)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("how", ["record", "export"])
def test_a_module_means_what_torch_computes(name, how):
    module, x = example(name)
    same(module, x, how=how)


@pytest.mark.parametrize("name", CASES)
def test_parameters_are_weights_by_their_names_and_not_copies(name):
    module, x = example(name)
    captured = capture(module, x)
    named = dict([*module.named_parameters(), *module.named_buffers()])
    assert set(captured.constants) <= set(named)
    assert all(c is named[n] for n, c in captured.constants.items())
    inputs = [v for v in captured.graph.values if isinstance(v, Input)]
    assert all(v.role == "weight" for v in inputs if v.name in named)


def test_identical_layers_are_the_same_expressions_of_other_weights():
    module = modules.Llama(layers=3, vocab=11).eval()
    captured = same(module, torch.randint(0, 11, (2, 5)))
    names = {a.name for v in captured.graph.values for a in v.axes}
    assert len(names) < 16
