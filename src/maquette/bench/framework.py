"""The framework's ways to run the same code: eagerly, compiled, with its fused attention."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from maquette.bench.contest import Contender
from maquette.capture import capture
from maquette.compiler.pipeline import Passes
from maquette.compiler.tiling import Candidate
from maquette.errors import Fault, NotYet
from maquette.price.kernel_flow import on_processor
from maquette.run.measured import processor
from maquette.run.program import Compiled
from maquette.run.specialise import Native
from maquette.run.specialised import Specialised

Compile = Callable[[Any], Any]  # maquette.compile, which is below benchmarks in the order of layers
Make = Callable[[], Contender]


def torch() -> Any:
    """The framework.  NotYet where it is not installed."""
    try:
        import torch as found
    except ImportError:
        hint = 'pip install "maquette[torch]"'
        what = "is not installed, and benchmarks compare with it"
        raise NotYet(Fault("torch", what, hint=hint)) from None
    return found


def versions() -> dict[str, str]:
    """What the comparison is with."""
    found = torch()
    return {"torch": found.__version__, "torch_threads": str(found.get_num_threads())}


def forget() -> None:
    """Let the framework's compiler start afresh: it gives up on a function of too many shapes."""
    torch().compiler.reset()


def eager(function: Any, inputs: Sequence[Any]) -> Make:
    """The function as it is written, operator by operator."""

    def make() -> Contender:
        return Contender(_quietly(function, inputs))

    return make


def compiled(function: Any, inputs: Sequence[Any]) -> Make:
    """The function under the framework's compiler, for the very shapes."""

    def make() -> Contender:
        return Contender(_quietly(torch().compile(function, dynamic=False), inputs))

    return make


def ours(compile_: Compile, function: Any, inputs: Sequence[Any]) -> Make:
    """The function compiled by Maquette."""

    def make() -> Contender:
        made = compile_(function)
        run = _quietly(made, inputs)
        run()
        if not isinstance(made, Compiled):
            return Contender(run)
        return known(run, made.latest)

    return make


def passed(passes: Passes, function: Any, inputs: Sequence[Any]) -> Make:
    """The function compiled by Maquette with passes other than its own; inputs are contiguous."""

    def make() -> Contender:
        captured = capture(function, *inputs)
        lowered = passes.lower(captured.graph, None, captured.constants)
        made = Native(captured, lowered, tuple(inputs))
        return known(lambda: made(inputs), made)

    return make


def known(run: Callable[[], Any], made: Specialised) -> Contender:
    """A contender of ours, with its price and how it is tiled."""
    lowered, host = made.lowered, processor()
    cost = on_processor(lowered.flow, lowered.tiled, host)
    priced = None if cost.unpriced else cost.total.point
    return Contender(run, made.bytes, priced, "; ".join(_briefly(t) for t in lowered.tiled))


def _briefly(candidate: Candidate | None) -> str:
    """A tiling in a few words: its strategy, what it notes, and the steps of its loops."""
    if candidate is None:
        return "interpreted"
    tiling = candidate.tiling
    steps = "×".join(str(loop.step) for loop in tiling.loops if loop.step > 1)
    return " ".join(filter(None, (tiling.strategy, *tiling.notes, steps)))


def fused_attention(
    q: Any, k: Any, v: Any, *, causal: bool = False, mask: Any = None, grouped: bool = False
) -> Make:
    """The framework's fused attention."""

    def make() -> Contender:
        function = torch().nn.functional.scaled_dot_product_attention
        settings = {"is_causal": causal, "attn_mask": mask, "enable_gqa": grouped}
        return Contender(_quietly(lambda *a: function(*a, **settings), (q, k, v)))

    return make


def flexible_attention(
    q: Any, k: Any, v: Any, *, seen: Callable[..., Any] | None = None,
    score: Callable[..., Any] | None = None, grouped: bool = False,
) -> Make:  # fmt: skip
    """The framework's flexible attention under its compiler.

    `seen` says of positions whether they are seen, `score` changes a score; both are compiled in.
    """

    def make() -> Contender:
        framework = torch()
        from torch.nn.attention.flex_attention import create_block_mask, flex_attention

        s, t = q.shape[-2], k.shape[-2]
        blocks = None if seen is None else create_block_mask(seen, None, None, s, t, device="cpu")
        function = framework.compile(flex_attention, dynamic=False)
        return Contender(
            _quietly(
                lambda *a: function(*a, score_mod=score, block_mask=blocks, enable_gqa=grouped),
                (q, k, v),
            )
        )

    return make


def _quietly(function: Any, inputs: Sequence[Any]) -> Callable[[], Any]:
    """A call that keeps no gradients; the inputs are held."""
    framework = torch()

    def run() -> Any:
        with framework.inference_mode():
            return function(*inputs)

    return run
