"""The programs of claims mean what their papers mean: NumPy says so."""

from __future__ import annotations

import numpy as np
import pytest

from maquette.ir.interpret import evaluate
from maquette.reproduce.programs import (
    backward,
    blocks,
    kept_blocks,
    mixing,
    monarch,
    nearest,
    plain,
    product,
    recomputing,
)

N, D = 12, 5
RNG = np.random.default_rng(7)
Q, K, V, DO = (RNG.standard_normal((N, D)) for _ in range(4))


def run(graph, sizes=None, **inputs):
    return evaluate(graph, inputs, sizes or {}, precise=True)


def shares(q=Q, k=K):
    scores = q @ k.T / np.sqrt(D)
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def numeric(which):
    """Gradients of ``sum(out * DO)`` by central differences."""
    given = {"q": Q.copy(), "k": K.copy(), "v": V.copy()}
    found = np.zeros_like(Q)
    for at in np.ndindex(Q.shape):
        ends = []
        for sign in (1, -1):
            given[which][at] += sign * 1e-5
            ends.append(float((run(mixing(N, D), **given)["o"] * DO).sum()))
            given[which][at] -= sign * 1e-5
        found[at] = (ends[0] - ends[1]) / 2e-5
    return found


def test_forward():
    assert np.allclose(run(mixing(N, D), q=Q, k=K, v=V)["o"], shares() @ V)
    free = run(plain(), {"s": N, "t": N, "d": D, "e": D}, q=Q, k=K, v=V)["o"]
    p = np.exp(Q @ K.T)
    assert np.allclose(free, p / p.sum(axis=1, keepdims=True) @ V)


def test_mask_and_dropout_change_nothing_where_they_let_all_pass():
    ones = np.ones((N, N), np.int8)
    found = run(mixing(N, D, trained=True), q=Q, k=K, v=V, mask=ones, keep=ones)["o"]
    assert np.allclose(found, shares() @ V / 0.9)


@pytest.mark.parametrize("which", "qkv")
def test_gradients(which):
    expected = numeric(which)
    kept = run(backward(N, D), q=Q, k=K, v=V, p=shares(), do=DO)
    assert np.allclose(kept[f"d{which}"], expected, atol=1e-7)
    scores = Q @ K.T / np.sqrt(D)
    lse = np.log(np.exp(scores).sum(axis=1))
    again = run(recomputing(N, D), q=Q, k=K, v=V, o=shares() @ V, do=DO, lse=lse)
    assert np.allclose(again[f"d{which}"], expected, atol=1e-7)


def test_blocks_that_a_mask_keeps():
    """Rows of blocks against a dense mask that is true exactly there."""
    rows, kept, block = 3, 2, 4
    table = np.array([[0, 2], [1, 2], [0, 1]])
    tiles = [x.reshape(rows, block, D) for x in (Q, K, V)]
    found = run(kept_blocks(rows, kept, block, D), q=tiles[0], k=tiles[1][table],
                v=tiles[2][table])["o"]  # fmt: skip
    mask = np.zeros((rows, rows), bool)
    np.put_along_axis(mask, table, True, axis=1)
    scores = np.where(np.kron(mask, np.ones((block, block), bool)), Q @ K.T / np.sqrt(D), -np.inf)
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    expected = p / p.sum(axis=1, keepdims=True) @ V
    assert np.allclose(found.reshape(N, D), expected)


def test_products_and_clusters():
    x, w = RNG.standard_normal((4, 6)), RNG.standard_normal((6, 3))
    assert np.allclose(run(product(4, 6, 3), x=x, w=w)["y"], x @ w)
    p, c = RNG.standard_normal((20, 3)), RNG.standard_normal((4, 3))
    near = np.linalg.norm(p[:, None] - c[None], axis=2).argmin(axis=1)
    assert np.array_equal(run(nearest(20, 4, 3), points=p, centroids=c)["near"], near)


def test_monarch():
    n, m, k = 2, 6, 3
    x, w0 = RNG.standard_normal((n, m, k)), RNG.standard_normal((k, m))
    twiddle, w1 = RNG.standard_normal((m, m)), RNG.standard_normal((m, k))
    found = run(monarch(n, m, k), x=x, w0=w0, twiddle=twiddle, w1=w1)["y"]
    between = (x @ w0) * twiddle
    assert np.allclose(found, between.transpose(0, 2, 1) @ w1)


def test_a_monarch_matrix_is_two_block_diagonals_with_a_transposition_between():
    side = 3
    left, right = (RNG.standard_normal((side,) * 3) for _ in range(2))
    x = RNG.standard_normal(side * side)
    found = run(blocks(side), x=x.reshape(side, side), left=left, right=right)["y"]
    turn = np.arange(side * side).reshape(side, side).T.ravel()

    def diagonal(parts):
        whole = np.zeros((side * side,) * 2)
        for b, part in enumerate(parts):
            at = slice(b * side, (b + 1) * side)
            whole[at, at] = part
        return whole

    expected = (x @ diagonal(left))[turn] @ diagonal(right)
    assert np.allclose(found.ravel(), expected)
