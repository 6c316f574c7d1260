"""``maquette bench``: ours beside the framework's, in one process, call by call in turns."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from maquette.cli import options
from maquette.cli.values import ABOVE_ZERO, POSITIVE, Numbers
from maquette.errors import Fault, InputError, UnknownName

if TYPE_CHECKING:
    from maquette.bench.contest import Case
    from maquette.cli.printing import Report

BOUNDS = options.bundle(
    "bounds",
    click.option("--repeats", type=POSITIVE, default=15, show_default=True,
                 help="Turns of every case, each contender once in a turn."),
    click.option("--budget", type=ABOVE_ZERO, default=10.0, show_default=True, metavar="SECONDS",
                 help="Time for the turns of a case; three are made whatever it is."),
)  # fmt: skip
SHAPE = options.bundle(
    "shape",
    click.option("--heads", type=POSITIVE, default=8, show_default=True, help="Heads of q."),
    click.option("--key-heads", type=POSITIVE, help="Heads of k and v.  [as many]"),
    click.option("--dim", type=POSITIVE, default=64, show_default=True, help="Features of a head."),
    click.option("--batch", type=POSITIVE, default=1, show_default=True, help="Sequences."),
)  # fmt: skip


def seqs(default: str, name: str = "--seq") -> Callable[..., Any]:
    """The option for sequence lengths."""
    return click.option(name, "seq", type=Numbers(), default=default, show_default=True,
                        metavar="N,N,…", help="Sequence lengths.")  # fmt: skip


@click.group()
def bench() -> None:
    """Compare with the framework: time, extra memory and error, side by side in one run.

    Calls are made in turns and compared within a turn; what is printed are medians of those
    ratios, with their quartiles.
    """


@bench.command()
@seqs("512,2048")
@click.option("--causal/--full", "causal", default=None, help="Only one of the two masks.")
@click.option("--flex/--no-flex", default=True, show_default=True,
              help="The framework's compiled flexible attention.")  # fmt: skip
@SHAPE
@BOUNDS
@options.as_json
def attention(
    seq: tuple[int, ...], causal: bool | None, flex: bool, shape: dict[str, Any],
    bounds: dict[str, Any], as_json: bool,
) -> None:  # fmt: skip
    """Naive attention, causal and full, beside fused and flexible attention."""
    from maquette.bench.attention import cases, plain

    sizes = _shapes(seq, shape)
    masks = [m for m in ("causal", "full") if causal is None or causal == (m == "causal")]
    names = [plain(m, sizes[0]) for m in masks]
    found = cases(names, sizes, _compile(), flexible=flex)
    _publish("attention", found, len(names) * len(seq), bounds, as_json)


@bench.command()
@seqs("2048")
@click.option("--only", "only", multiple=True, metavar="NAME", help="A spelling; repeatable.")
@SHAPE
@BOUNDS
@options.as_json
def spellings(
    seq: tuple[int, ...], only: tuple[str, ...], shape: dict[str, Any], bounds: dict[str, Any],
    as_json: bool,
) -> None:  # fmt: skip
    """Fourteen ways to write attention, each as the framework and as we run it."""
    from maquette.bench.attention import cases
    from maquette.bench.spellings import SPELLINGS

    names = _chosen("spelling", only, SPELLINGS)
    found = cases(names, _shapes(seq, shape), _compile(), flexible=True)
    _publish("spellings", found, len(names) * len(seq), bounds, as_json)


@bench.command()
@seqs("512,2048")
@BOUNDS
@options.as_json
def block(seq: tuple[int, ...], bounds: dict[str, Any], as_json: bool) -> None:
    """A Llama block of width 1024, naive and with fused attention."""
    from maquette.bench.block import cases

    _publish("block", cases(seq, _compile()), len(seq), bounds, as_json)


@bench.command()
@seqs("512,2048")
@BOUNDS
@options.as_json
def chains(seq: tuple[int, ...], bounds: dict[str, Any], as_json: bool) -> None:
    """Chains that memory binds: norms, rotary positions, gated activation, softmax."""
    from maquette.bench.chains import CHAINS, cases

    _publish("chains", cases(seq, _compile()), len(seq) * len(CHAINS), bounds, as_json)


@bench.command()
@click.option("--rows", type=POSITIVE, default=4096, show_default=True, help="Outputs.")
@click.option("--columns", type=click.IntRange(min=128), default=4096, show_default=True,
              help="Inputs, a multiple of 128.")  # fmt: skip
@BOUNDS
@options.as_json
def decode(rows: int, columns: int, bounds: dict[str, Any], as_json: bool) -> None:
    """Products with one token, weights in four and eight bits beside fp32."""
    from maquette.bench.decode import GROUP, cases

    if columns % GROUP:
        raise InputError(Fault("--columns", f"{columns} is no multiple of {GROUP}"))
    _publish("decode", cases([(rows, columns)], _compile()), 2, bounds, as_json)


@bench.command()
@click.option("--only", "only", multiple=True, metavar="NAME", help="A program; repeatable.")
@BOUNDS
@options.as_json
def rewrite(only: tuple[str, ...], bounds: dict[str, Any], as_json: bool) -> None:
    """Programs that algebra makes cheaper, and one that it does not."""
    from maquette.bench.rewrites import PROGRAMS, cases

    names = _chosen("program", only, PROGRAMS)
    _publish("rewrite", cases(names, _compile(), None), len(names), bounds, as_json)


def _shapes(seq: Iterable[int], shape: dict[str, Any]) -> list[Any]:
    from maquette.bench.attention import Shape

    held = shape["key_heads"] or 0
    if held and shape["heads"] % held:
        what = f"{held} do not divide {shape['heads']} heads"
        raise InputError(Fault("--key-heads", what))
    return [Shape(s, shape["heads"], shape["dim"], shape["batch"], held) for s in seq]


def _chosen(kind: str, only: tuple[str, ...], known: Iterable[str]) -> list[str]:
    names = list(known)
    for name in only:
        if name not in names:
            raise UnknownName(kind, name, names, "--only")
    return list(only) or names


def _compile() -> Callable[[Any], Any]:
    """Our compiler, and the framework that it is compared with, or a clear word that it lacks."""
    import maquette
    from maquette.bench.framework import torch

    torch()
    return maquette.compile  # type: ignore[attr-defined,no-any-return]


def _publish(
    name: str, cases: Iterable[Case], count: int, bounds: dict[str, Any], as_json: bool
) -> None:
    from maquette.bench.contest import hold
    from maquette.bench.framework import versions
    from maquette.cli.printing import progress, publish
    from maquette.report import benchmarks
    from maquette.run.measured import processor

    held = []
    with progress() as tell:
        for i, case in enumerate(cases):
            told = partial(_numbered, tell, f"({i + 1}/{count}) ")
            held.append(hold(case, turns=bounds["repeats"], budget=bounds["budget"], progress=told))
    found = benchmarks.document(name, held, processor(), versions())
    title = f"{processor().name}, {processor().threads} threads"
    publish(found, benchmarks.tables(title, held), as_json)


def _numbered(tell: Report, number: str, what: str, done: int, of: int) -> None:
    tell(number + what, done, of)
