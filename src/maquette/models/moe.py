"""Mixture of experts: score, choose, group tokens by expert, run the experts, put together."""

from __future__ import annotations

from maquette.ir.axes import Axis, axis
from maquette.ir.build import (
    Tensor,
    apply,
    dot,
    group_by,
    iota,
    sigmoid,
    softmax,
    top,
    weight,
    where,
)
from maquette.ir.dtypes import DType
from maquette.ir.patterns import section
from maquette.ir.sizes import sym
from maquette.models.config import Experts, Router
from maquette.models.ffn import feed_forward

SHARED = ("shared_up", "shared_act", "shared_down")
ROUTED = ("experts_up", "experts_act", "experts_down")


def mixture(x: Tensor, moe: Experts, expert_fmt: DType, fmt: DType) -> Tensor:
    """``x[b,s,d]`` through its chosen experts and the shared one."""
    with section("router"):
        chosen, weights = route(x, moe)
    group = Axis("e", sym("hit"), within=axis("e", moe.count).size)
    tokens = sym("b") * sym("s")
    member = axis("m", tokens * moe.top_k / sym("hit"), within=tokens)
    with section("dispatch"):
        slot, at_b, at_s, _ = group_by(chosen, group, member)
        # One expert has each token there, and its weight may go ahead of the exchange.
        taken = (x * weights.sum("j") if moe.weigh_input else x).at(b=at_b, s=at_s)
    done = feed_forward(taken, moe.expert, expert_fmt, ROUTED, "expert_", (group,))
    shared = _shared(x, moe, fmt)
    with section("combine"):
        # Linear in the experts' outputs, so that shards of experts may be summed afterwards.
        back = done.at(e=chosen, m=slot)
        out = back.sum("j") if moe.weigh_input else dot(back, weights, "j")
        if moe.expert.bias:
            bias = weight("expert_b_down", e=moe.count, d=x.value.axis("d").size)
            out = out + dot(bias.at(e=chosen), weights, "j")
        return out if shared is None else out + shared


def _shared(x: Tensor, moe: Experts, fmt: DType) -> Tensor | None:
    if moe.shared is None:
        return None
    out = feed_forward(x, moe.shared, fmt, SHARED, "shared_")
    if moe.shared_gate:
        with section("shared_down"):
            gate = weight("w_shared_gate", d=x.value.axis("d").size)
            out = out * sigmoid(dot(x, gate, "d"))
    return out


def route(x: Tensor, moe: Experts) -> tuple[Tensor, Tensor]:
    """The chosen experts and their weights, both over ``[b,s,j]``."""
    router = moe.router
    logits = dot(x, weight("w_router", d=x.value.axis("d").size, e=moe.count), "d").to("f32")
    if router.bias:
        logits = logits + weight("b_router", e=moe.count)
    scores = softmax(logits, "e") if router.scoring == "softmax" else sigmoid(logits)
    steered = scores
    if router.correction:
        steered = scores + weight("router_correction", e=moe.count)
    if router.groups > router.groups_kept:
        steered = where(_in_best_groups(steered, router), steered, 0.0)
    chosen = top(steered, "e", "j", moe.top_k)
    weights = scores.at(e=chosen)
    if router.normalise:
        weights = weights / weights.sum("j")
    if router.scale != 1.0:
        weights = weights * router.scale
    return chosen, weights.to("bf16")


def _in_best_groups(scores: Tensor, router: Router) -> Tensor:
    """Whether each expert is in one of the best groups."""
    count = scores.value.axis("e").size
    per_group = count / router.groups
    grouped = scores.split("e", u=router.groups, i=per_group)
    if router.group_top == 1:
        best = grouped.max("i")
    else:
        best = grouped.at(i=top(grouped, "i", "y", router.group_top)).sum("y")
    kept = top(best, "u", "z", router.groups_kept)
    own = iota("e", count) // per_group
    return where(apply("eq", kept, own), 1.0, 0.0).max("z") > 0.5
