"""Whole programs through every pass: small models of many kinds, and what once went wrong."""

from __future__ import annotations

import pytest

import maquette as mq
from maquette.capture import capture
from maquette.run.specialise import passes

torch = pytest.importorskip("torch")
agreement = pytest.importorskip("run.agreement")
agree, flat = agreement.agree, agreement.flat

F = torch.nn.functional
nn = torch.nn


@pytest.fixture(params=agreement.TARGETS)
def target(request):
    return request.param


def given(*shapes):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(s, generator=generator) for s in shapes]


class Experts(nn.Module):
    """Two of a few experts for each token."""

    def __init__(self, width=32, experts=4, inner=48, chosen=2):
        super().__init__()
        self.gate = nn.Linear(width, experts)
        self.up = nn.Parameter(torch.randn(experts, width, inner) / width**0.5)
        self.down = nn.Parameter(torch.randn(experts, inner, width) / inner**0.5)
        self.chosen = chosen

    def forward(self, x):
        weight, which = torch.topk(torch.softmax(self.gate(x), -1), self.chosen, -1)
        weight = weight / weight.sum(-1, keepdim=True)
        y = torch.einsum("...d,edh->...eh", x, self.up)
        y = torch.einsum("...eh,ehd->...ed", F.silu(y), self.down)
        which = which[..., None].expand(*which.shape, y.shape[-1])
        return (torch.gather(y, -2, which) * weight[..., None]).sum(-2)


class Convolutions(nn.Module):
    """Strides, groups, pooling, a residual, and two heads of one by one."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16)
        self.second = nn.Conv2d(16, 32, 3, 2, 1)
        self.grouped = nn.Conv2d(32, 32, 3, 1, 1, groups=4)
        self.box, self.kind = nn.Conv2d(32, 4, 1), nn.Conv2d(32, 10, 1)

    def forward(self, x):
        x = F.relu(self.norm(self.first(x)))
        x = F.max_pool2d(F.relu(self.second(x)), 2)
        x = x + F.relu(self.grouped(x))
        return self.box(x), self.kind(x).softmax(1)


class Mixer(nn.Module):
    """Products along tokens, where rows and batch lie around the axis that is summed."""

    def __init__(self, tokens=49, width=96):
        super().__init__()
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.tokens = nn.Sequential(nn.Linear(tokens, 64), nn.GELU(), nn.Linear(64, tokens))
        self.channels = nn.Sequential(nn.Linear(width, 192), nn.GELU(), nn.Linear(192, width))

    def forward(self, x):
        x = x + self.tokens(self.before(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channels(self.after(x))


class StateSpace(nn.Module):
    """A recurrence written out step by step."""

    def __init__(self, width=16, states=4):
        super().__init__()
        self.decay = nn.Parameter(-torch.rand(width, states))
        self.project = nn.Linear(width, 2 * states + width)
        self.width, self.states = width, states

    def forward(self, x):
        sizes = [self.states, self.states, self.width]
        b, c, dt = self.project(x).split(sizes, -1)
        dt = F.softplus(dt)
        h = torch.zeros(x.shape[0], self.width, self.states)
        found = []
        for t in range(x.shape[1]):
            step = dt[:, t, :, None]
            h = h * torch.exp(step * self.decay) + step * b[:, t, None, :] * x[:, t, :, None]
            found.append((h * c[:, t, None, :]).sum(-1))
        return torch.stack(found, 1)


def encoder():
    return nn.TransformerEncoderLayer(64, 4, 128, batch_first=True, norm_first=True)


MODELS = {
    "experts": (Experts, (2, 17, 32)),
    "convolutions": (Convolutions, (2, 3, 32, 32)),
    "mixer": (Mixer, (2, 49, 96)),
    "state space": (StateSpace, (2, 6, 16)),
    "encoder": (encoder, (2, 33, 64)),
}


@pytest.mark.parametrize("name", MODELS)
def test_model(name, target):
    make, shape = MODELS[name]
    torch.manual_seed(0)
    agree(make().eval(), *given(shape), target=target)


def hidden_future(q):
    mask = torch.ones(q.shape[0], q.shape[0], dtype=torch.bool).triu(0)
    return torch.softmax((q @ q.T).masked_fill(mask, float("-inf")), -1) @ q


FUNCTIONS = {
    "bf16 linear": (
        lambda x, w: F.linear(x, w),
        [x.bfloat16() for x in given((33, 70), (40, 70))],
    ),
    "product along rows": (
        lambda x, w: F.linear(x.transpose(1, 2), w),
        given((2, 49, 96), (64, 49)),
    ),
    "cross entropy": (
        lambda x, t: F.cross_entropy(x, t),
        [given((64, 100))[0], torch.arange(64) % 100],
    ),
    "running sum of rows": (lambda x: torch.cumsum(x.softmax(-1), 1), given((3, 50, 20))),
    "masked product": (
        lambda q, k, v: torch.tril(q @ k.transpose(-1, -2)) @ v,
        given((2, 4, 50, 32), (2, 4, 50, 32), (2, 4, 50, 32)),
    ),
    "first row sees nothing": (hidden_future, given((8, 4))),
    "nothing at all": (lambda x: torch.softmax(x, -1).sum(0), given((0, 5))),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(name, target):
    function, args = FUNCTIONS[name]
    agree(function, *args, target=target)


def test_what_has_no_points_says_so():
    compiled = mq.compile(lambda x: torch.softmax(x, -1).sum(0))
    assert torch.equal(compiled(torch.zeros(0, 5)), torch.zeros(5))
    assert any("has no points" in line for line in compiled.report if "interpreted" in line)


def test_one_tensor_twice_and_then_two(target):
    x, y = given((5, 6), (5, 6))
    compiled = mq.compile(lambda a, b: a - 2 * b, target=target)
    torch.testing.assert_close(compiled(x, x), -x)
    torch.testing.assert_close(compiled(x, y), x - 2 * y)
    torch.testing.assert_close(compiled(y, x), y - 2 * x)


def test_calls_keep_apart(target):
    """Two compiled functions by turns: neither arena nor results are shared."""
    torch.manual_seed(0)
    one, two = Mixer().eval(), encoder().eval()
    (x,), (y,) = given((2, 49, 96)), given((2, 33, 64))
    first, second = mq.compile(one, target=target), mq.compile(two, target=target)
    a, b = first(x), second(y)
    held = [t.clone() for t in (a, b)]
    for scale in (0.5, 2.0, 1.0):
        c, d = first(x * scale), second(y * scale)
    with torch.no_grad():
        torch.testing.assert_close(a, held[0], rtol=0, atol=0)
        torch.testing.assert_close(b, held[1], rtol=0, atol=0)
        torch.testing.assert_close(c, a, rtol=0, atol=0)
        torch.testing.assert_close(d, b, rtol=0, atol=0)


def test_results_of_the_caller(target):
    torch.manual_seed(0)
    module = Convolutions().eval()
    (x,) = given((2, 3, 32, 32))
    compiled = mq.compile(module, target=target)
    wanted = flat(compiled(x))
    out = tuple(torch.full_like(t, float("nan")) for t in wanted)
    assert compiled(x, out=out) is out
    for found, want in zip(out, wanted, strict=True):
        torch.testing.assert_close(found, want, rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(48, 3, 8), (100, 7, 16), (300, 40, 32), (33, 200, 16)])
def test_rows_that_see_nothing(shape):
    """Fewer keys than queries under a causal mask: what no row of a block may see is no number."""
    s, t, e = shape
    q, k, v = given((2, s, e), (2, t, e), (2, t, e))

    def attention(q, k, v):
        scores = q @ k.transpose(-1, -2) / e**0.5
        i, j = torch.arange(s)[:, None], torch.arange(t)[None]
        return torch.softmax(scores.masked_fill(j > i + (t - s), float("-inf")), -1) @ v

    for target in agreement.TARGETS:
        agree(attention, q, k, v, target=target)


def test_long_recurrence_stays_short():
    """Many steps written out are kernels of a bounded size, each of a bounded text."""
    torch.manual_seed(0)
    compiled = agree(StateSpace().eval(), *given((2, 24, 16)), target=agreement.TARGETS[-1])
    kernels = compiled.lowered.flow.kernels
    assert max(len(k.stages) for k in kernels) <= 32
    assert max((len(s.text) for s in getattr(compiled.latest, "sources", ())), default=0) < 80_000


def test_layers_of_one_form_are_all_there():
    """Layers are priced once where they are equal; all of them run."""
    module = pytest.importorskip("capture.modules").Llama(3, 32, 4, 2, 48).eval()
    captured = capture(module, *given((1, 16, 32)))
    lowered = passes().lower(captured.graph, {}, captured.constants)
    assert {t.name for t in lowered.flow.inputs} >= set(captured.constants)


def test_two_streamed_folds_in_one_program():
    """What differs has a symbol of its own, however alike it is."""

    def both(q, k, v, r, m, w):
        scores = torch.tanh(q @ k.transpose(-1, -2) / 5) * 5
        return torch.softmax(scores, -1) @ v, torch.softmax(r @ m.transpose(-1, -2), -1) @ w

    one, two = given((2, 31, 32), (2, 5, 32), (2, 5, 16)), given((4, 48, 32), (4, 7, 32), (4, 7, 8))
    agree(both, *one, *two, target=agreement.TARGETS[-1])


def test_folds_that_would_need_each_other():
    """An attention whose result is multiplied with itself, projected, and shifted."""

    def function(q, k, v, w, b):
        i, j = torch.arange(31)[:, None], torch.arange(8)[None]
        y = torch.softmax(q @ k.transpose(-1, -2) - (i - j).abs() * 0.1, -1) @ v
        return F.linear(y @ y.transpose(-1, -2) * 0.2, w, b)

    shapes = (2, 2, 31, 32), (2, 2, 8, 32), (2, 2, 8, 32), (3, 31), (3,)
    for target in agreement.TARGETS:
        agree(function, *given(*shapes), target=target)
