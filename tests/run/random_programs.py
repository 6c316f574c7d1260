"""Random programs of a few operators, the same for the same seed."""

from __future__ import annotations

import random

import pytest

torch = pytest.importorskip("torch")
F = torch.nn.functional

SIZES = [1, 2, 3, 5, 8, 16, 17, 31, 48]
POINTWISE = [
    F.relu, F.gelu, F.silu, torch.tanh, torch.sigmoid, torch.abs, F.softplus, torch.erf, F.elu,
    lambda x: torch.exp(x.clamp(max=3)), lambda x: torch.rsqrt(x * x + 1),
    lambda x: 1 / (x * x + 1),
    lambda x: x.clamp(-0.5, 0.7), lambda x: torch.where(x > 0, x, x * x),
]  # fmt: skip
ALONG = [
    lambda x, d: torch.softmax(x, d), lambda x, d: torch.log_softmax(x, d),
    lambda x, d: x * torch.rsqrt((x * x).mean(d, keepdim=True) + 1e-6),
    lambda x, d: x - x.mean(d, keepdim=True), lambda x, d: torch.cumsum(x, d),
    lambda x, d: x.flip(d), lambda x, d: torch.logsumexp(x, d), lambda x, d: x.amax(d),
    lambda x, d: x.sum(d, keepdim=True), lambda x, d: x.var(d, correction=0),
    lambda x, d: x.repeat_interleave(2, d), lambda x, d: torch.stack([x, x * 2], d),
    lambda x, d: torch.cat([torch.zeros_like(x.narrow(d, 0, 1)), x], d),
    lambda x, d: x.narrow(d, x.shape[d] // 2, x.shape[d] - x.shape[d] // 2),
    lambda x, d: x.transpose(d, -1), lambda x, d: x.unsqueeze(d),
]  # fmt: skip


class Program:
    """Steps over a list of tensors: arguments, and what was made of them."""

    def __init__(self, seed):
        self.draw, self.numbers = random.Random(seed), torch.Generator().manual_seed(seed)
        self.args, self.steps = [], []
        rank = self.draw.choice([1, 2, 2, 3, 3, 4])
        self.last = self.given([self.size() for _ in range(rank)])
        for _ in range(self.draw.randrange(2, 7)):
            step = self.draw.choice(
                [self.pointwise, self.along, self.along, self.product, self.both, self.gram,
                 self.linear, self.masked, self.normed]
            )  # fmt: skip
            step()

    def size(self):
        return self.draw.choice(SIZES)

    def given(self, shape):
        """A new argument: dense, transposed or with gaps."""
        how = self.draw.randrange(4)
        if how == 0 and len(shape) > 1:
            x = torch.randn(shape[::-1], generator=self.numbers).permute(*range(len(shape))[::-1])
        elif how == 1:
            x = torch.randn((*shape, 2), generator=self.numbers)[..., 1]
        else:
            x = torch.randn(shape, generator=self.numbers)
        self.args.append(x)
        return x

    def step(self, function, *more):
        """Apply a function to the latest result and to the latest arguments."""
        with torch.no_grad():
            made = function(self.last, *more)
        if 0 < made.numel() <= 50_000 and made.dim() <= 5:
            self.steps.append((function, len(more), len(self.args)))
            self.last = made

    def pointwise(self):
        self.step(self.draw.choice(POINTWISE))

    def along(self):
        if self.last.dim():
            function, d = self.draw.choice(ALONG), self.draw.randrange(self.last.dim())
            self.step(lambda x: function(x, d))

    def both(self):
        shape = [n if self.draw.random() < 0.7 else 1 for n in self.last.shape]
        function = self.draw.choice([torch.add, torch.mul, torch.maximum])
        self.step(function, self.given(shape))

    def linear(self):
        if self.last.dim():
            n = self.size()
            w, b = self.given([n, self.last.shape[-1]]), self.given([n])
            self.step(F.linear, w, b)

    def product(self):
        if self.last.dim() > 1:
            batch = self.last.shape[:-2] if self.draw.random() < 0.5 else []
            self.step(torch.matmul, self.given([*batch, self.last.shape[-1], self.size()]))

    def gram(self):
        if self.last.dim() > 1:
            self.step(lambda x: x @ x.transpose(-1, -2) * 0.2)

    def masked(self):
        if self.last.dim() > 1:
            k = self.draw.randrange(2)  # at 0 the first row sees nothing

            def function(x):
                mask = torch.ones(x.shape[-2:], dtype=torch.bool).triu(k)
                return torch.softmax(x.masked_fill(mask, float("-inf")), -1)

            self.step(function)

    def normed(self):
        if self.last.dim():
            n = self.last.shape[-1]
            w, b = self.given([n]), self.given([n])
            self.step(lambda x, w, b: F.layer_norm(x, (n,), w, b), w, b)

    def __call__(self, *args):
        x = args[0]
        for function, count, until in self.steps:
            x = function(x, *args[until - count : until])
        return x
