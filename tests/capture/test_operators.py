"""Every operator of the table, as torch spells it, compared with torch."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
import torch.nn.functional as F  # noqa: E402

from capture.oracle import same  # noqa: E402


def x(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape) + len(shape)))


def ids(*shape, high=5):
    return torch.randint(0, high, shape, generator=torch.Generator().manual_seed(1))


ELEMENTWISE = {
    "arithmetic": (lambda a, b: (a + b) * 2 - b / 3 + 1 / (a.abs() + 1) - (2 - a), x(2, 3), x(3)),
    "broadcast both ways": (lambda a, b: a + b, x(4, 1), x(1, 5)),
    "alpha": (lambda a, b: torch.add(a, b, alpha=2) - torch.sub(a, b, alpha=0.5), x(3), x(3)),
    "powers": (
        lambda a: a**2 + a**3 + (a.abs() + 1) ** 0.5 + a.abs().add(1).pow(-0.5) + 2**a,
        x(5),
    ),
    "tensor powers": (lambda a, b: (a.abs() + 0.1) ** b, x(4), x(4)),
    "functions": (
        lambda a: (
            a.exp()
            + a.sin() * a.cos()
            + a.tanh()
            + torch.erf(a)
            + a.sigmoid()
            + a.expm1()
            + a.square().log1p()
            + (a.abs() + 1).log()
            + (a.abs() + 1).rsqrt()
            + (a.abs() + 1).log2()
        ),
        x(6),
    ),
    "activations": (
        lambda a: (
            F.relu(a)
            + F.gelu(a)
            + F.gelu(a, approximate="tanh")
            + F.silu(a)
            + F.elu(a)
            + F.leaky_relu(a, 0.1)
            + F.softplus(a)
            + F.mish(a)
            + F.hardswish(a)
            + F.logsigmoid(a)
            + F.relu6(a)
            + F.hardsigmoid(a)
            + F.softsign(a)
            + F.hardtanh(a, -0.5, 0.5)
        ),
        x(9) * 3,
    ),
    "rounding": (lambda a: a.floor() + a.ceil() + a.sign() + (a // 0.5) + a % 0.75, x(8) * 4),
    "comparisons": (lambda a, b: torch.where((a > b) & (a <= 1) | ~(b != b), a, 0.0), x(7), x(7)),
    "extremes": (
        lambda a, b: torch.maximum(a, b) + torch.min(a, b) + a.clamp(-1, 0.5) + a.clamp(min=0),
        x(6),
        x(6),
    ),
    "integers": (lambda i: (i + 1) * 2 // 3 % 4 - (i == 2).int(), ids(7)),
    "integers and floats": (lambda i, a: i * a + i / 2 + (i > 2) * a, ids(5), x(5)),
    "masks": (lambda a: a.masked_fill(a > 0, -1e9).isfinite().float() + torch.isnan(a / a), x(5)),
    "formats": (lambda a: a.to(torch.bfloat16).float() * 0 + a.long() + a.bool().float(), x(5) * 3),
    "lerp, addcmul": (
        lambda a, b: torch.lerp(a, b, 0.3) + torch.addcmul(a, a, b, value=2),
        x(4),
        x(4),
    ),
}

REDUCTIONS = {
    "sums": (
        lambda a: (
            a.sum() + a.sum(0) + a.sum((0, 2), keepdim=True)[0, :, 0].mean() + a.mean(-1).sum(1)[0]
        ),
        x(2, 3, 4),
    ),
    "extremes": (
        lambda a: (
            a.amax(1),
            a.max(dim=-1).values,
            a.min(0, keepdim=True)[0],
            a.max(),
            a.argmax(-1),
            a.argmin(0),
        ),
        x(2, 3, 4),
    ),
    "spread": (
        lambda a: (
            a.var(-1) + a.std(-1) + a.var(-1, unbiased=False) + torch.var(a, dim=1, correction=0)
        ),
        x(3, 5),
    ),
    "norms": (
        lambda a: (
            a.norm(dim=-1)
            + torch.linalg.vector_norm(a, dim=-1)
            + a.norm(p=1, dim=1)
            + F.normalize(a, dim=-1).sum(-1)
        ),
        x(3, 5),
    ),
    "products": (lambda a: a.prod(-1) + torch.prod(a, 0).sum(), x(3, 4)),
    "any, all": (lambda a: ((a > 0).any(-1), (a > -9).all(), (a > 0).sum(0)), x(3, 4)),
    "softmaxes": (
        lambda a: a.softmax(-1) + F.log_softmax(a, dim=0) + torch.logsumexp(a, 1, keepdim=True),
        x(3, 4),
    ),
    "softmax of two dimensions": (lambda a: torch.softmax(a.flatten(1), -1).view_as(a), x(2, 3, 4)),
    "prefix sums": (lambda a: a.cumsum(1) + a.flip(1).cumsum(1) + a.abs().cumprod(0), x(3, 4)),
    "over what is expanded": (
        lambda a: a[:, None].expand(3, 5, 4).sum(1) + a[:, None].expand(3, 5, 4).amax(1),
        x(3, 4),
    ),
    "layer norm": (lambda a, w, b: F.layer_norm(a, (4, 5), w, b), x(3, 4, 5), x(4, 5), x(4, 5)),
    "rms norm": (
        lambda a, w: F.rms_norm(a, (5,), w) + F.rms_norm(a, (5,), eps=1e-3),
        x(3, 5),
        x(5),
    ),
    "group norm": (lambda a, w, b: F.group_norm(a, 2, w, b), x(2, 6, 3, 3), x(6), x(6)),
    "instance norm": (lambda a: F.instance_norm(a), x(2, 3, 4, 4)),
    "cross entropy": (
        lambda a, t: F.cross_entropy(a, t) + F.cross_entropy(a, t, reduction="sum"),
        x(6, 5),
        ids(6),
    ),
    "cross entropy of pixels": (
        lambda a, t: F.cross_entropy(a, t, reduction="none"),
        x(2, 5, 3),
        ids(2, 3),
    ),
    "losses": (
        lambda a, b: (
            F.mse_loss(a, b) + F.l1_loss(a, b) + F.nll_loss(a.log_softmax(-1), a.argmax(-1))
        ),
        x(3, 4),
        x(3, 4),
    ),
}

PRODUCTS = {
    "matmul of ranks": (
        lambda a, b, c: (a @ b, c @ a, c[0] @ a, (c @ a) @ b[:, 0], b[:, 0] @ b),
        x(4, 5),
        x(5, 3),
        x(2, 3, 4),
    ),
    "batched": (
        lambda a, b: a @ b + torch.bmm(a, b) + torch.matmul(a[0], b),
        x(3, 4, 5),
        x(3, 5, 2),
    ),
    "with itself": (lambda a: a @ a.T + a.T.mT @ a.mT, x(4, 3)),
    "linear": (lambda a, w, b: F.linear(a, w, b) + F.linear(a, w), x(2, 3, 4), x(5, 4), x(5)),
    "addmm": (
        lambda a, b, c: (
            torch.addmm(c, a, b, beta=0.5, alpha=2) + torch.baddbmm(c[None], a[None], b[None])[0]
        ),
        x(2, 3),
        x(3, 4),
        x(2, 4),
    ),
    "outer, dot": (lambda a, b: torch.outer(a, b) + torch.dot(a, a), x(3), x(4)),
    "einsum": (
        lambda a, b: (
            torch.einsum("bij,bjk->bik", a, b).sum()
            + torch.einsum("...ij->...ji", a)
            + torch.einsum("bij,bjk,bik->b", a, b, b[:, :4])[:, None, None]
        ),
        x(2, 4, 4),
        x(2, 4, 4),
    ),
    "einsum that only sums": (
        lambda a: torch.einsum("ij->j", a) + torch.einsum("ij,kj->j", a, a),
        x(3, 4),
    ),
    "bfloat16": (lambda a, w: (a.bfloat16() @ w.bfloat16()).float() * 0 + a @ w, x(3, 4), x(4, 2)),
    "attention with a mask": (
        lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v, attn_mask=m),
        x(1, 2, 5, 4),
        x(1, 2, 6, 4),
        x(1, 2, 6, 3),
        x(5, 6),
    ),
    "attention with a boolean mask": (
        lambda q, k, v: F.scaled_dot_product_attention(
            q, k, v, attn_mask=(q[0, 0, :, :1] > 0) & (k[0, 0, :, 0] > 0), scale=0.3
        ),
        x(1, 2, 5, 4),
        x(1, 2, 6, 4),
        x(1, 2, 6, 3),
    ),
    "attention of groups": (
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, enable_gqa=True),
        x(2, 6, 5, 4),
        x(2, 2, 6, 4),
        x(2, 2, 6, 4),
    ),
}

EVERY = {
    f"{group}: {name}": case
    for group, cases in (
        ("elementwise", ELEMENTWISE),
        ("reductions", REDUCTIONS),
        ("products", PRODUCTS),
    )
    for name, case in cases.items()
}


@pytest.mark.parametrize("name", EVERY)
def test_means_what_torch_computes(name):
    function, *tensors = EVERY[name]
    same(function, *tensors)
