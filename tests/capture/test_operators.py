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

SHAPES = {
    "reshapes": (
        lambda a: a.view(6, 4).reshape(3, 2, 4).flatten(1).unflatten(-1, (4, 2)).ravel(),
        x(2, 3, 4),
    ),
    "reshape across borders": (lambda a: a.t().reshape(2, 6) + a.reshape(6, 2).T, x(3, 4)),
    "transposes": (
        lambda a: a.transpose(0, 2).permute(1, 0, 2).movedim(0, -1).mT.swapaxes(0, 1),
        x(2, 3, 4),
    ),
    "sums of a transpose": (lambda a: a + a.T, x(4, 4)),
    "ones": (
        lambda a: a.unsqueeze(0).unsqueeze(-1).squeeze() + a[None, :, None, :][0, :, 0],
        x(3, 4),
    ),
    "keeps ones": (lambda a: a.sum(-1, keepdim=True).unsqueeze(0), x(1, 3)),
    "repeats": (
        lambda a: a.repeat(2, 3) + a.repeat_interleave(2, 0).repeat_interleave(3, dim=1),
        x(2, 3),
    ),
    "expand": (lambda a: a.expand(4, -1, 3).reshape(4, 6) + a.expand(2, 3).reshape(6), x(2, 1)),
    "slices": (lambda a: a[1:, ..., ::2][:, None, -1, :], x(3, 4, 5)),
    "narrow, select": (lambda a: a.narrow(1, 1, 2) + a.select(1, 3)[:, None] + a[:, -1:], x(3, 4)),
    "pieces": (lambda a: (a.chunk(3, 1), a.split([1, 4], dim=1), torch.unbind(a)), x(2, 5)),
    "cat": (lambda a, b: torch.cat([a, b, a[:, :1]], dim=1), x(2, 3), x(2, 4)),
    "cat of transposes": (lambda a: torch.cat([a, a.T], 0), x(3, 3)),
    "cat of heads": (
        lambda a: torch.cat([a.view(2, 3, 2).transpose(0, 1).reshape(3, 4), a.new_ones(3, 2)], 1),
        x(12),
    ),
    "stack": (
        lambda a, b: torch.stack([a, b, a + b], dim=1) + torch.stack([a] * 6, 1)[:, :3],
        x(2, 3),
        x(2, 3),
    ),
    "interleaved halves": (
        lambda a: torch.stack((-a[..., 1::2], a[..., ::2]), -1).flatten(-2),
        x(3, 6),
    ),
    "flip, roll": (lambda a: a.flip(0, 1) + a.roll(1, 0) + torch.roll(a, (1, -1), (0, 1)), x(3, 4)),
    "pads": (
        lambda a: (
            F.pad(a, (1, 2))
            + F.pad(a, (1, 2), value=3.0)
            + F.pad(a, (2, 1), mode="reflect")
            + F.pad(a[None], (3, 0), mode="replicate")[0]
        ),
        x(2, 4),
    ),
    "triangles": (
        lambda a: a.tril() + a.triu(1) + torch.tril(a, -1) * torch.ones(4, 5).triu(2),
        x(4, 5),
    ),
    "diagonal": (lambda a: torch.diagonal(a, 1) + a.diagonal(), x(3, 4)),
    "ranges": (
        lambda a: (
            a * torch.arange(4)
            + torch.linspace(0, 1, 4)
            + torch.full((4,), 2.0)
            + torch.eye(4)[1]
            + torch.zeros(4)
        ),
        x(4),
    ),
    "like": (
        lambda a: (
            torch.zeros_like(a) + torch.ones_like(a) + a.new_full((2, 3), 4) + torch.full_like(a, 2)
        ),
        x(2, 3),
    ),
    "meshgrid": (
        lambda a: a + torch.meshgrid(torch.arange(2), torch.arange(3), indexing="ij")[1],
        x(2, 3),
    ),
}

INDEXING = {
    "embedding": (lambda i, w: F.embedding(i, w), ids(2, 3), x(5, 4)),
    "lookups": (lambda a, i: a[i] + a[:, i[0]] + a[i, i][:, None], x(5, 5), ids(2, 5)),
    "lookups apart": (lambda a, i: a[i, :, i], x(5, 3, 5), ids(4)),
    "negative": (lambda a, i: a[i - 5], x(5, 3), ids(4)),
    "index_select, gather": (
        lambda a, i: a.index_select(1, i[0]) + a.gather(1, i),
        x(3, 5),
        ids(3, 4),
    ),
    "one of each row": (lambda a, i: a.gather(1, i[:, None])[:, 0], x(3, 5), ids(3)),
    "topk": (lambda a: torch.topk(a, 2), x(3, 5)),
    "smallest": (lambda a: a.topk(3, dim=0, largest=False).values, x(4, 2)),
    "sort": (lambda a: (*a.sort(-1, descending=True), a.argsort(0)), x(4, 3)),
    "one hot": (lambda i: F.one_hot(i, 5).float(), ids(2, 3)),
    "take along": (lambda a: torch.take_along_dim(a, a.argsort(1), 1), x(2, 4)),
}

WINDOWS = {
    "conv1d": (
        lambda a, w, b: F.conv1d(a, w, b, stride=2, padding=1, dilation=2),
        x(2, 4, 9),
        x(6, 4, 3),
        x(6),
    ),
    "conv2d": (
        lambda a, w: F.conv2d(a, w, padding=1) + F.conv2d(a, w, padding="same"),
        x(2, 3, 5, 6),
        x(4, 3, 3, 3),
    ),
    "grouped": (lambda a, w: F.conv2d(a, w, groups=2, stride=(1, 2)), x(2, 4, 5, 6), x(6, 2, 3, 2)),
    "depthwise": (lambda a, w: F.conv2d(a, w, groups=4, padding=1), x(1, 4, 5, 5), x(4, 1, 3, 3)),
    "pointwise": (
        lambda a, w: F.conv2d(a, w) + F.conv2d(a, w, stride=2).repeat(1, 1, 2, 2),
        x(1, 4, 4, 4),
        x(3, 4, 1, 1),
    ),
    "unbatched": (lambda a, w: F.conv2d(a, w), x(3, 5, 5), x(2, 3, 3, 3)),
    "conv3d": (lambda a, w: F.conv3d(a, w), x(1, 2, 4, 4, 4), x(3, 2, 2, 2, 2)),
    "max pools": (
        lambda a: F.max_pool2d(a, 2) + F.max_pool2d(a, 3, stride=2, padding=1),
        x(2, 3, 6, 6),
    ),
    "mean pools": (lambda a: F.avg_pool2d(a, 2) + F.avg_pool2d(a, 3, 2, 1), x(2, 3, 6, 6)),
    "pools of one dimension": (lambda a: F.max_pool1d(a, 2) + F.avg_pool1d(a, 2), x(2, 3, 6)),
    "adaptive": (
        lambda a: (
            F.adaptive_avg_pool2d(a, 1).flatten(1) + F.adaptive_avg_pool2d(a, (2, 3)).sum((2, 3))
        ),
        x(2, 3, 4, 6),
    ),
    "nearest": (
        lambda a: (
            F.interpolate(a, scale_factor=2) + F.interpolate(a, size=(8, 6), mode="nearest-exact")
        ),
        x(1, 2, 4, 3),
    ),
    "pixel shuffle": (lambda a: F.pixel_shuffle(a, 2), x(1, 8, 3, 3)),
    "unfold": (lambda a: a.unfold(-1, 3, 2), x(2, 9)),
    "batch norm": (
        lambda a, m, v, w, b: F.batch_norm(a, m, v.abs(), w, b),
        x(2, 3, 4, 4),
        x(3),
        x(3) + 4,
        x(3),
        x(3),
    ),
}

EVERY = {
    f"{group}: {name}": case
    for group, cases in (
        ("elementwise", ELEMENTWISE),
        ("reductions", REDUCTIONS),
        ("products", PRODUCTS),
        ("shapes", SHAPES),
        ("indexing", INDEXING),
        ("windows", WINDOWS),
    )
    for name, case in cases.items()
}


@pytest.mark.parametrize("name", EVERY)
def test_means_what_torch_computes(name):
    function, *tensors = EVERY[name]
    same(function, *tensors)
