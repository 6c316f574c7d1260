"""What a recording keeps: lines, few names, masks without tensors; any chain of shapes."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from capture import modules  # noqa: E402
from capture.oracle import same  # noqa: E402
from maquette.capture import capture  # noqa: E402
from maquette.ir import show  # noqa: E402


def test_every_section_knows_its_line():
    def function(x):
        y = x.exp()
        return y.sum(-1)

    captured = capture(function, torch.ones(2, 3))
    first = function.__code__.co_firstlineno
    assert captured.lines == {
        f"exp.{first + 1}": f"{__file__}:{first + 1}",
        f"sum.{first + 2}": f"{__file__}:{first + 2}",
    }
    assert {v.section for v in captured.graph.values} <= {"", *captured.lines}


def test_nodes_grow_by_the_same_number_with_every_layer():
    sizes = [
        len(capture(modules.Llama(layers=n).eval(), torch.ones(1, 4, 32)).graph.values)
        for n in (1, 2, 3)
    ]
    assert sizes[2] - sizes[1] == sizes[1] - sizes[0] < 90


def test_large_shapes_cost_nothing():
    q = torch.empty(1, 8, 1 << 20, 64, device="meta")

    def function(q):
        s = q.shape[-2]
        mask = torch.full((s, s), float("-inf"), device="meta").triu(1)
        return (q @ q.mT + mask).softmax(-1) @ q

    captured = capture(function, q)
    assert not captured.constants
    assert "where(t > s, -inf, 0.0)" in show(captured.graph)


def test_a_mask_kept_as_a_buffer_is_a_comparison_too():
    class Masked(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("bias", torch.tril(torch.ones(16, 16)).view(1, 1, 16, 16))
            self.register_buffer("scale", torch.ones(4))

        def forward(self, q):
            s = q.shape[-2]
            scores = (q * self.scale) @ q.mT
            scores = scores.masked_fill(self.bias[:, :, :s, :s] == 0, float("-inf"))
            return scores.softmax(-1) @ q

    captured = same(Masked(), torch.randn(1, 2, 9, 4))
    assert set(captured.constants) == {"scale"}
    assert "where(t > s, -inf" in show(captured.graph)


def test_axes_that_trade_names():
    """One operand's axis splits into parts of which one is called what its other axis was."""

    def function(x):
        y = (x.reshape(1, 4, 6).transpose(0, 2) * 2).reshape(-1)
        return y + y.reshape(12, 2).sum(1).repeat(2), y + x.reshape(12, 2).sum(1).repeat(2)

    same(function, torch.arange(24.0).reshape(2, 12))


def divisors(n):
    return [d for d in range(1, n + 1) if n % d == 0]


@st.composite
def chains(draw):
    """Reshapes, transposes, sums with oneself and reductions, one after the other."""
    steps = draw(st.lists(st.sampled_from(["reshape", "transpose", "fold", "twice"]), max_size=6))
    return [(step, draw(st.randoms(use_true_random=False))) for step in steps]


def follow(x, chain):
    for step, random in chain:
        if step == "reshape":
            first = random.choice(divisors(x.numel()))
            second = random.choice(divisors(x.numel() // first))
            x = x.reshape(first, second, -1)
        elif step == "transpose" and x.dim() > 1:
            a, b = random.sample(range(x.dim()), 2)
            x = x.transpose(a, b) * 2
        elif step == "fold" and x.dim() > 1:
            x = x + x.sum(random.randrange(x.dim()), keepdim=True)
        elif step == "twice":
            x = x.reshape(-1) + x.reshape(x.numel() // 2, 2).sum(1).repeat(2)
    return x


@given(chains())
@settings(max_examples=60, deadline=None)
def test_any_chain_of_shapes_means_what_torch_computes(chain):
    import copy

    same(
        lambda x: follow(x, copy.deepcopy(chain)), torch.arange(24.0).reshape(2, 12) / 24, rtol=1e-4
    )
