"""``maquette bench``: ours beside the framework's, in one process, call by call in turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from maquette.cli import options
from maquette.cli.values import ABOVE_ZERO, POSITIVE, Numbers
from maquette.errors import Fault, InputError, UnknownName

if TYPE_CHECKING:
    from maquette.bench.contest import Case, Held
    from maquette.cli.printing import Report


def bounds(budget: float = 4.0) -> Callable[..., Any]:
    """The options for how long a case is timed; by default for `budget` seconds."""
    return options.bundle(
        "bounds",
        click.option("--repeats", type=POSITIVE, default=15, show_default=True,
                     help="Turns of every case, each contender once in a turn at most."),
        click.option("--budget", type=ABOVE_ZERO, default=budget, show_default=True,
                     metavar="SECONDS", help="Time for the turns of a case: who takes long has "
                     "fewer, three at least."),
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
@click.option("--forms/--no-forms", default=True, show_default=True,
              help="Our fold online and in two passes, beside what the price chose.")  # fmt: skip
@SHAPE
@bounds()
@options.as_json
def attention(
    seq: tuple[int, ...], causal: bool | None, flex: bool, forms: bool, shape: dict[str, Any],
    bounds: dict[str, Any], as_json: bool,
) -> None:  # fmt: skip
    """Naive attention, causal and full, beside fused and flexible attention."""
    from maquette.bench.attention import cases, plain

    sizes = _shapes(seq, shape)
    masks = [m for m in ("causal", "full") if causal is None or causal == (m == "causal")]
    names = [plain(m, sizes[0]) for m in masks]
    found = cases(names, sizes, _compile(), flexible=flex, forms=forms)
    _publish("attention", found, len(names) * len(seq), bounds, as_json)


@bench.command()
@seqs("2048")
@click.option("--only", "only", multiple=True, metavar="NAME", help="A spelling; repeatable.")
@SHAPE
@bounds(2.0)
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
@bounds()
@options.as_json
def block(seq: tuple[int, ...], bounds: dict[str, Any], as_json: bool) -> None:
    """A Llama block of width 1024, naive and with fused attention."""
    from maquette.bench.block import cases

    _publish("block", cases(seq, _compile()), len(seq), bounds, as_json)


@bench.command()
@seqs("512,2048")
@bounds()
@options.as_json
def chains(seq: tuple[int, ...], bounds: dict[str, Any], as_json: bool) -> None:
    """Chains that memory binds: norms, rotary positions, gated activation, softmax."""
    from maquette.bench.chains import CHAINS, cases

    _publish("chains", cases(seq, _compile()), len(seq) * len(CHAINS), bounds, as_json)


@bench.command()
@click.option("--tokens", type=Numbers(), default="1", show_default=True, metavar="N,N,…",
              help="Inputs that are multiplied at once.")  # fmt: skip
@click.option("--rows", type=POSITIVE, default=4096, show_default=True, help="Outputs.")
@click.option("--columns", type=click.IntRange(min=128), default=4096, show_default=True,
              help="Inputs, a multiple of 128.")  # fmt: skip
@bounds()
@options.as_json
def decode(
    tokens: tuple[int, ...], rows: int, columns: int, bounds: dict[str, Any], as_json: bool
) -> None:
    """Products with few tokens, weights in four and eight bits beside fp32."""
    from maquette.bench.decode import GROUP, cases

    if columns % GROUP:
        raise InputError(Fault("--columns", f"{columns} is no multiple of {GROUP}"))
    found = cases([(n, rows, columns) for n in tokens], _compile())
    _publish("decode", found, 2 * len(tokens), bounds, as_json)


@bench.command()
@click.option("--only", "only", multiple=True, metavar="NAME", help="A program; repeatable.")
@bounds()
@options.as_json
def rewrite(only: tuple[str, ...], bounds: dict[str, Any], as_json: bool) -> None:
    """Programs that algebra makes cheaper, and one that it does not."""
    from maquette.bench.rewrites import PROGRAMS, cases

    names = _chosen("program", only, PROGRAMS)
    _publish("rewrite", cases(names, _compile()), len(names), bounds, as_json)


@bench.command()
@click.option("--each", type=POSITIVE, default=4, show_default=True,
              help="Tilings of every kernel.")  # fmt: skip
@click.option("--repeats", type=click.IntRange(min=2), default=8, show_default=True,
              help="Samples of every schedule at full speed of the machine.")  # fmt: skip
@click.option("--budget", type=ABOVE_ZERO, default=40.0, show_default=True, metavar="SECONDS",
              help="Time to wait for them.")  # fmt: skip
@click.option("--fit", is_flag=True,
              help="Fit the constants first, on kernels of other sizes.")  # fmt: skip
@options.as_json
def price(each: int, repeats: int, budget: float, fit: bool, as_json: bool) -> None:
    """Predicted and measured time of our own schedules, none of them fitted.

    Beside the price stand a null model of one rate and what repeating a measurement scatters.
    Prices are as good as the ceilings: run maquette calibrate --machine this first.
    """
    from maquette.bench.prices import fit as fitted
    from maquette.bench.prices import judge, null_rate, observe
    from maquette.bench.schedules import FITTED as SIZES
    from maquette.bench.schedules import HELD_OUT
    from maquette.cli.printing import progress, publish
    from maquette.price.kernel import FITTED
    from maquette.report import prices as report
    from maquette.run.measured import kept, processor

    constants, rate, host, within = FITTED, None, processor(), None
    with progress() as tell:
        settings: Any = {"each": each, "turns": repeats, "budget": budget, "progress": tell}
        if fit:
            seen, _ = observe(SIZES, host, **settings)
            constants = fitted(seen, host, f"fitted here on {len(seen)} schedules of other sizes")
            rate = null_rate(seen)
            within = judge(seen, host, constants, rate).price
        found, failed = observe(HELD_OUT, host, **settings)
    judged = replace(judge(found, host, constants, rate, failed), fitted=within)
    document = report.document(judged, host, constants, kept())
    publish(document, report.tables(judged, host, constants), as_json)


@bench.command()
@seqs("1024,2048,4096,8192,16384,32768")
@click.option("--causal/--full", "causal", default=True, show_default=True, help="The mask.")
@SHAPE
@options.as_json
def memory(seq: tuple[int, ...], causal: bool, shape: dict[str, Any], as_json: bool) -> None:
    """Extra memory of our attention over the sequence length, and the power that it grows with."""
    from maquette.bench.attention import plain
    from maquette.bench.growth import growth
    from maquette.cli.printing import progress, publish
    from maquette.report import growth as report

    if len(seq) < 2:
        raise InputError(Fault("--seq", "is one length", "two or more, to fit a power"))
    sizes = _shapes(seq, shape)
    with progress() as tell:
        found = growth(plain("causal" if causal else "full", sizes[0]), sizes, _compile(), tell)
    publish(report.document(found), report.tables(found), as_json)


@bench.command(name="compile")
@click.option("--layers", type=POSITIVE, default=32, show_default=True, help="Of one form.")
@options.as_json
def compiling(layers: int, as_json: bool) -> None:
    """How long it takes to compile a model of repeated layers, phase by phase."""
    from maquette.bench.compiling import compiling as measured
    from maquette.bench.framework import torch
    from maquette.cli.printing import publish
    from maquette.report import compiling as report

    torch()
    found = measured(layers)
    publish(report.document(found), report.tables(found), as_json)


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
    return maquette.compile


def _publish(
    name: str, cases: Iterable[Case], count: int, bounds: dict[str, Any], as_json: bool
) -> None:
    from maquette.bench.framework import versions
    from maquette.cli.printing import publish
    from maquette.report import benchmarks
    from maquette.run.measured import processor

    held = _held(cases, count, bounds)
    found = benchmarks.document(name, held, processor(), versions())
    if len(held) < count:
        found["left_out"] = count - len(held)
    title = f"{processor().name}, {processor().threads} threads"
    publish(found, benchmarks.tables(title, held), as_json)


def _held(cases: Iterable[Case], count: int, bounds: dict[str, Any]) -> list[Held]:
    """Every case, told in a line as it ends; after an interrupt those that were complete."""
    from maquette.bench.contest import hold
    from maquette.cli.printing import progress
    from maquette.report.benchmarks import line

    held: list[Held] = []
    with progress() as tell:
        try:
            for i, case in enumerate(cases):
                start = time.perf_counter()
                told = partial(_numbered, tell, f"({i + 1}/{count}) ")
                found = hold(case, turns=bounds["repeats"], budget=bounds["budget"], progress=told)
                held.append(found)
                took = time.perf_counter() - start
                click.echo(f"({i + 1}/{count}) {line(found, took)}", err=True)
        except KeyboardInterrupt:
            if not held:
                raise
    return held


def _numbered(tell: Report, number: str, what: str, done: int, of: int) -> None:
    tell(number + what, done, of)
