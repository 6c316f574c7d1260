"""What cannot be captured is said plainly: the operator, the line, what to do instead."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
import torch.nn.functional as F  # noqa: E402

from capture.oracle import same  # noqa: E402
from maquette.capture import capture  # noqa: E402
from maquette.errors import InputError, MaquetteError, NotYet  # noqa: E402

X = torch.arange(12.0).reshape(3, 4) - 5


def refused(function, *tensors, how="record"):
    with pytest.raises(MaquetteError) as caught:
        capture(function, *tensors, how=how)
    return caught.value.faults


def line_of(function, offset=0):
    return f"{__file__}:{function.__code__.co_firstlineno + offset}"


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda x: x[x > 0], "getitem: the shape of a selection by a mask depends on the data"),
        (lambda x: x.nonzero(), "nonzero: the shape of its result depends on the data"),
        (lambda x: torch.masked_select(x, x > 0), "masked_select: the shape"),
        (lambda x: torch.where(x > 0)[0], "where: the shape of where(test) depends on the data"),
        (lambda x: x.unique(), "unique: the shape"),
        (lambda x: x if x.sum() > 0 else -x, "__bool__: Python asks for a number"),
        (lambda x: x * x.max().item(), "item: Python asks for a number"),
        (lambda x: x[: int(x[0, 0])], "__int__: Python asks for a number"),
        (lambda x: torch.linalg.svd(x).S, "linalg_svd: no lowering"),
        (lambda x: F.dropout(x), "dropout: dropout in training mode"),
        (lambda x: x + torch.rand(4), "rand draws numbers anew"),
        (lambda x: x + torch.randn_like(x), "randn_like draws numbers anew"),
        (lambda x: x.clone().uniform_(), "uniform_ draws numbers anew"),
        (lambda x: x.double(), "double: format float64"),
        (lambda x: x.to(torch.float64), "to: format float64"),
        (lambda x: torch.add(x, 1, out=torch.empty(3, 4)), "add writes into out="),
        (lambda x: x @ x, "matmul: sizes 4 and 3 are multiplied and summed"),
        (lambda x: x + x[:, :3], "add: sizes"),
        (lambda x: x.view(5, 2), "view: a tensor of shape (3, 4) cannot be reshaped to (5, 2)"),
        (
            lambda x: F.adaptive_max_pool2d(x[None, None], 1, return_indices=True),
            "the positions of a maximum pool",
        ),
        (lambda x: F.interpolate(x[None, None], scale_factor=2, mode="bilinear"), "'bilinear'"),
        (
            lambda x: F.conv_transpose2d(x[None, None], x[None, None]),
            "conv_transpose2d: no lowering",
        ),
    ],
)
def test_the_operator_and_the_line_are_named(function, said):
    faults = refused(function, X)
    assert said in faults[-1].what.replace("__getitem__", "getitem")
    assert faults[-1].where == line_of(function)


def test_all_operators_without_a_lowering_are_named_at_once():
    def function(x):
        y = torch.linalg.inv(x @ x.T)
        return torch.special.i0(y) + x.sum()

    faults = refused(function, X)
    assert [f.where for f in faults] == [line_of(function, 1), line_of(function, 2)]
    exported = refused(function, X, how="export")
    assert [f.where for f in exported] == [f.where for f in faults]


@pytest.mark.parametrize("how", ["record", "export"])
def test_a_branch_on_data_is_refused_with_its_line(how):
    def function(x):
        if x.sum() > 0:
            return x
        return -x

    faults = refused(function, X, how=how)
    assert faults[-1].where == line_of(function, 1)


def test_pools_are_exported_but_not_their_positions():
    def pooled(x):
        return F.adaptive_max_pool2d(x[None, :2], 2)

    same(pooled, X, how="export")

    def positions(x):
        return F.adaptive_max_pool2d(x[None, :2], 2, return_indices=True)[1]

    (fault,) = refused(positions, X, how="export")
    assert fault.what == "adaptive_max_pool2d: its result 1 is not computed"


def test_doubles_are_refused_by_the_name_of_the_argument():
    (fault,) = refused(lambda x, y: y, X, X.double())
    assert str(fault).startswith("argument y: format float64; expected float32")


def test_results_that_are_no_tensors_are_refused():
    with pytest.raises(InputError, match="returns a int"):
        capture(lambda x: x.shape[0], X)


def test_a_way_that_is_none():
    with pytest.raises(InputError, match="'trace'; expected 'record' or 'export'"):
        capture(lambda x: x, X, how="trace")


class TestInPlace:
    """Changing what is one's own is a new value; changing what others see is refused."""

    def test_own_values_are_rebound(self):
        def function(x):
            y = x * 2
            y += 1
            y.mul_(3).clamp_(min=0)
            y[1] = 7
            y[:, 1:3] *= 2
            y[:, ::2] -= x[:, :2]
            y[0, 0] = x[1, 1]
            z = torch.zeros(3, 4)
            z[1:] = y[:2]
            z.masked_fill_(z > 20, 0.0)
            return y, z.copy_(z + 1)

        same(function, X)

    def test_a_view_that_is_no_longer_used_does_not_count(self):
        def function(x):
            y = (x * 2).view(4, 3).t()
            y += 1
            return y

        same(function, X)

    @pytest.mark.parametrize("how", ["argument", "parameter", "view", "expanded"])
    def test_what_others_see_is_not(self, how):
        weight = torch.nn.Parameter(torch.ones(3, 4))

        def function(x):
            if how == "argument":
                return x.add_(1)
            if how == "parameter":
                return weight.mul_(x)
            y = x * 2
            z = y.view(-1) if how == "view" else y[None]
            y += 1
            return z

        faults = refused(function, X)
        assert "_" in faults[0].what
        assert "changes" in faults[0].what
        assert "clone()" in faults[0].hint

    def test_loops_that_fill_a_tensor(self):
        def function(x):
            out = torch.empty(3, 4)
            h = torch.zeros(3)
            for t in range(4):
                h = 0.5 * h + x[:, t]
                out[:, t] = h
            return out

        same(function, X)


@pytest.mark.parametrize("shape", [(0, 4), (3, 0)])
def test_sizes_of_zero(shape):
    same(
        lambda x: (x.softmax(-1) if x.shape[1] else x, x.sum(-1), x @ x.T, x + 1), torch.ones(shape)
    )


def test_infinities_and_nans_go_where_torch_lets_them_go():
    x = torch.tensor([[float("-inf")] * 3, [1.0, float("nan"), 2.0], [float("inf"), 0.0, -1.0]])
    same(lambda x: (x.softmax(-1), x.max(-1).values, x.amin(0), x.logsumexp(-1), x.relu()), x)


def test_not_a_number_ranks_as_torch_ranks_it():
    """Above everything; and least integers, which have no negative, below."""
    nan, inf = float("nan"), float("inf")
    x = torch.tensor([[1.0, nan, 3.0, 2.0, -inf], [2.0, 5.0, 4.0, inf, 0.0]])
    i = torch.tensor([[-128, 3, 127, -1], [4, 0, 5, -128]], dtype=torch.int8)

    def ranked(x):
        found = (x.argmax(-1), x.argmin(-1), *x.topk(2), *x.topk(2, largest=False))
        return *found, *x.sort(-1), *x.sort(-1, descending=True)

    same(ranked, x)
    same(ranked, i)


def test_rows_that_a_mask_hides_wholly_are_what_torch_gives():
    q = torch.randn(1, 1, 3, 4)
    mask = torch.tensor([[False] * 3, [True, False, True], [True] * 3])
    bias = torch.zeros(3, 3).masked_fill(~mask, float("-inf"))
    same(lambda q, m: F.scaled_dot_product_attention(q, q, q, attn_mask=m), q, mask)
    same(lambda q, m: F.scaled_dot_product_attention(q, q, q, attn_mask=m), q, bias)
    same(lambda q, m: ((q @ q.mT).masked_fill(~m, float("-inf"))).softmax(-1) @ q, q, mask)


def test_a_module_in_training_mode_says_how_to_go_on():
    module = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Dropout(0.5))
    with pytest.raises(NotYet, match=r"module.eval\(\)"):
        capture(module, X)


def test_nests_go_in_and_out():
    def function(pair, *, scale):
        return {"sum": pair["a"] + pair["b"][0], "rest": (pair["b"][0] * scale, "done")}

    found = same(function, {"a": X, "b": [X]}, scale=2.0)
    assert found.arguments == ("pair_a", "pair_b_0")
