"""Shapes, positions and windows as torch spells them, compared with torch."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
import torch.nn.functional as F  # noqa: E402

from capture.oracle import same  # noqa: E402


def x(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape) + len(shape)))


def ids(*shape, high=5):
    return torch.randint(0, high, shape, generator=torch.Generator().manual_seed(1))


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

SCATTERS = {
    "the last of several": (
        lambda a, i: a.scatter(1, i, 1.0),
        x(2, 4),
        torch.tensor([[0, 2, 2], [3, 3, 0]]),
    ),
    "of a tensor": (
        lambda a, i, b: a.scatter(1, i, b),
        x(2, 4),
        torch.tensor([[0, 2], [3, 1]]),
        x(2, 3),
    ),
    "sums": (lambda a, i, b: a.scatter_add(1, i, b), x(2, 4), ids(2, 3, high=4), x(2, 3)),
    "sums along the first": (
        lambda a, i, b: a.scatter_add(0, i, b),
        x(2, 3),
        ids(4, 3, high=2),
        x(4, 3),
    ),
    "gates of the chosen": (
        lambda a: torch.zeros(3, 6).scatter_(-1, a.topk(2).indices, a.topk(2).values.softmax(-1)),
        x(3, 6),
    ),
}

MORE = {
    "gated": (lambda a: F.glu(a), x(3, 4)),
    "angles": (lambda a, b: F.cosine_similarity(a, b, dim=-1), x(3, 4), x(3, 4)),
    "rounded": (
        lambda a: a.round() + a.trunc() + a.frac(),
        torch.tensor([0.5, 1.5, -2.5, 0.4, -1.7]),
    ),
    "tensordot": (
        lambda a, b: torch.tensordot(a, b, dims=([0, 2], [1, 0])),
        x(2, 3, 4),
        x(4, 2, 5),
    ),
    "more functions": (
        lambda a: (
            torch.logit(a.sigmoid()) + a.sinh() + a.cosh() + a.tan() + torch.nan_to_num(a / 0)
        ),
        x(5),
    ),
    "prelu, addcdiv": (
        lambda a, w: F.prelu(a, w) + torch.addcdiv(a, a, a.abs() + 1, value=2),
        x(2, 3),
        x(3),
    ),
    "self-attention of torch.nn": (
        torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval(),
        x(2, 5, 8),
    ),
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
        ("shapes", SHAPES),
        ("indexing", INDEXING),
        ("scatters", SCATTERS),
        ("more", MORE),
        ("windows", WINDOWS),
    )
    for name, case in cases.items()
}


@pytest.mark.parametrize("name", EVERY)
def test_means_what_torch_computes(name):
    function, *tensors = EVERY[name]
    same(function, *tensors)
