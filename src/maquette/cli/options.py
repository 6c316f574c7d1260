"""Options that several commands share, in bundles: a command receives each as one mapping."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from typing import Any

import click

from maquette.cli.values import (
    ABOVE_ZERO,
    DURATION,
    FILLED,
    LAYERS,
    POSITIVE,
    SIZE,
    Finite,
    Numbers,
)
from maquette.errors import Fault, InputError, MaquetteError, together

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
Values = dict[str, Any]


def bundle(name: str, *options: Decorator) -> Decorator:
    """Adds `options` to a command, which receives their values as a mapping called `name`."""
    keys = _destinations(options)

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(command)
        def gathered(*args: Any, **values: Any) -> Any:
            own = {k: values.pop(k) for k in keys}
            return command(*args, **{name: own}, **values)

        return _applied(gathered, options)

    return decorate


def _destinations(options: tuple[Decorator, ...]) -> list[str]:
    def probe() -> None: ...

    command = click.command()(_applied(probe, options))
    return [p.name for p in command.params if p.name is not None and p.name != "help"]


def _applied(command: Callable[..., Any], options: tuple[Decorator, ...]) -> Callable[..., Any]:
    for option in reversed(options):
        command = option(command)
    return command


def _machines(required: bool) -> Decorator:
    return bundle(
        "machines",
        click.option("--on", "on", type=FILLED, metavar="SYSTEM", required=required,
                     help="Devices, such as h100x8 or ./mine.tomlx4; see maquette show machines."),
        click.option("--set", "overrides", metavar="PATH=VALUE", multiple=True,
                     help='A what-if, such as machine.hbm.bandwidth="4 TB/s"; repeatable.'),
    )  # fmt: skip


machines = _machines(required=True)
machines_or_fleet = _machines(required=False)

mesh = bundle(
    "mesh",
    click.option("--tp", type=POSITIVE, help="Tensor parallel devices.  [fewest that fit]"),
    click.option("--pp", type=POSITIVE, help="Pipeline stages."),
    click.option("--stages", type=LAYERS, metavar="N,N,…", default=(),
                 help="Layers of each pipeline stage.  [even]"),
    click.option("--dp", type=POSITIVE, help="Attention data-parallel groups in a replica."),
    click.option("--ep", type=POSITIVE, help="Expert-parallel groups in a replica."),
    click.option("--replicas", type=POSITIVE, help="Copies of the model.  [all that fit]"),
    click.option("--cold", type=Finite(0.0, 1.0), metavar="SHARE",
                 help="Share of the weights to stream from the cold tier.  [what does not fit]"),
    click.option("--regions", type=POSITIVE,
                 help="Parts of a wafer that layers take turns in.  [one for each layer]"),
)  # fmt: skip

pins = bundle(
    "pins",
    click.option("--tp", type=POSITIVE, help="Only plans with so many tensor parallel devices."),
    click.option("--pp", type=POSITIVE, help="Only plans with so many pipeline stages."),
    click.option("--dp", type=POSITIVE, help="Only plans with so many attention groups."),
    click.option("--ep", type=POSITIVE, help="Only plans with so many expert-parallel groups."),
    click.option("--replicas", type=POSITIVE, help="Only plans with so many copies."),
)

formats = bundle(
    "formats",
    click.option("--precision", "--weights", "weights", metavar="FORMAT",
                 help="Format of the weights: bf16, fp8, int8, int4, mxfp4, nvfp4."),
    click.option("--activations", metavar="FORMAT", help="Format that products compute in."),
    click.option("--kv", metavar="FORMAT", help="Format of the KV cache."),
)  # fmt: skip

model = click.argument("model", type=FILLED)
model_or_fleet = click.argument("model", type=FILLED, required=False)
fleet = bundle(
    "fleet",
    click.option("--fleet", "fleet", type=FILLED, metavar="FILE",
                 help="Experts behind a router on the systems of this file, or of a name of the "
                      "catalogue such as samba-coe, in place of MODEL and --on."),
    click.option("--experts", type=Numbers(), metavar="N,N,…",
                 help="Numbers of the fleet's first experts to compare."),
)  # fmt: skip

engine = click.option("--engine", type=FILLED, metavar="NAME[@VERSION]",
                      help="Serving engine; see maquette show engines.  [vllm, or the vendor's "
                           "own where that does not run]")  # fmt: skip

policy = bundle(
    "policy",
    click.option("--scheduler", type=click.Choice(["continuous", "prefill-first", "static"]),
                 help="How batches form."),
    click.option("--admission", type=click.Choice(["chunk", "prompt", "output", "estimate"]),
                 help="What must find KV blocks before a request is let in.  [the engine's]"),
    click.option("--output-limit", type=POSITIVE,
                 help="Tokens that clients let a request generate, where it ends when it pleases: "
                      "an engine that estimates counts on a share of it.  [lengths are known]"),
    click.option("--max-seqs", type=POSITIVE, help="Sequences running at once in a replica."),
    click.option("--max-batched-tokens", type=POSITIVE, help="Token budget of one step."),
    click.option("--block-size", type=POSITIVE, help="Tokens in a KV block."),
    click.option("--kv-blocks", type=POSITIVE, help="KV blocks of a replica.  [from memory]"),
    click.option("--memory-utilisation", type=Finite(0.05, 1.0),
                 help="Share of device memory, as the engine means it: of all (vLLM), for weights "
                      "and KV (SGLang), of what is free after them (TensorRT-LLM)."),
    click.option("--activation-peak", type=SIZE, metavar="SIZE",
                 help="Memory of a device that a full step takes: 3GB.  [counted]"),
    click.option("--reserve", type=SIZE, metavar="SIZE",
                 help="Memory of a device for context and libraries.  [the engine's]"),
    click.option("--graphs", type=click.Choice(["none", "decode", "piecewise", "full"]),
                 help="Steps that are replayed from captured graphs.  [the engine's]"),
    click.option("--captured", type=POSITIVE,
                 help="Largest captured size, in tokens.  [the engine's]"),
    click.option("--overlap", is_flag=True, default=None,
                 help="The host prepares a step while the device runs the one before."),
    click.option("--no-overlap", is_flag=True, help="It does not."),
    click.option("--expert-skew", type=Finite(min=0.0, max=4.0), metavar="EXPONENT",
                 help="Zipf exponent of how often tokens choose each expert.  [0, evenly]"),
    click.option("--jitter", type=Finite(min=0.0, max=1.0), metavar="SHARE",
                 help="Deviation of one rank's time of a step over its mean; a step waits for the "
                      "slowest.  [0]"),
    click.option("--no-chunked-prefill", is_flag=True, help="Prefill prompts whole."),
    click.option("--no-prefix-caching", is_flag=True, help="Compute shared prefixes again."),
    click.option("--routing", help="How requests go to replicas.",
                 type=click.Choice(["round-robin", "least-outstanding", "prefix-aware"])),
    click.option("--timeout", type=DURATION, help="Drop requests older than this."),
)  # fmt: skip

disaggregated = bundle(
    "prefill",
    click.option("--prefill-replicas", type=POSITIVE,
                 help="Replicas that only prefill; the others then only decode."),
    click.option("--prefill-tp", type=POSITIVE, help="Their tensor parallel devices.  [--tp]"),
    click.option("--prefill-pp", type=POSITIVE, help="Their pipeline stages.  [--pp]"),
)  # fmt: skip

traffic = bundle(
    "traffic",
    click.option("--for", "preset", type=FILLED, metavar="TRAFFIC",
                 help="A preset, such as chat; see maquette show traffic."),
    click.option("--trace", type=FILLED, metavar="FILE",
                 help="A trace: Azure or plain CSV, Mooncake JSONL."),
    click.option("--rate", type=ABOVE_ZERO, metavar="REQ/S",
                 help="Mean arrivals per second; of a trace, speeds it up or slows it down."),
    click.option("--rate-scale", type=ABOVE_ZERO, metavar="FACTOR",
                 help="Requests arrive so many times as fast."),
    click.option("--concurrency", type=POSITIVE, metavar="N",
                 help="Closed loop: N clients, each waiting for its answer."),
    click.option("--requests", type=POSITIVE, metavar="N", help="How many requests."),
    click.option("--input-tokens", type=ABOVE_ZERO, metavar="MEAN", help="Mean prompt length."),
    click.option("--output-tokens", type=ABOVE_ZERO, metavar="MEAN", help="Mean answer length."),
    click.option("--lengths", type=click.Choice(["lognormal", "fixed", "below"]),
                 help="Spread of lengths about their means; below: uniformly up to nominal ones, "
                      "as clients of public benchmarks draw them.  [lognormal]"),
    click.option("--range-ratio", type=ABOVE_ZERO, metavar="SHARE",
                 help="Where lengths below begin, of the nominal ones.  [0.8]"),
    click.option("--arrivals", type=click.Choice(["poisson", "constant", "gamma"]),
                 help="Arrival process of --rate.  [poisson]"),
    click.option("--arrival-cv", type=ABOVE_ZERO, metavar="CV",
                 help="Coefficient of variation of gamma arrivals."),
    click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True,
                 help="Seed of everything random."),
)  # fmt: skip

calibration = click.option("--calibration", type=FILLED, metavar="FILE",
                           help="Calibrations of your own, as maquette calibrate writes them; "
                                "they go before those that ship.")  # fmt: skip

measured = click.option("--measured", is_flag=True,
                        help="Take products and collectives from the tables of "
                             "aiconfigurator-core where one has their shape.")  # fmt: skip

targets = bundle(
    "targets",
    click.option("--ttft", type=DURATION, help="Target for the time to first token: 500ms, 1.5s."),
    click.option("--tpot", type=DURATION, help="Target for the time per output token: 30ms."),
    click.option("--percentile", type=Finite(0, 100, min_open=True, max_open=True),
                 default=99.0, show_default=True, help="Of requests, at which targets hold."),
)  # fmt: skip

sensitivity = click.option("--sensitivity", is_flag=True,
                           help="Also what each fact nobody vouches for is worth: a fifth less, "
                                "a fifth more.")  # fmt: skip

outputs = bundle(
    "outputs",
    click.option(
        "--out", type=FILLED, metavar="DIR", help="Write the document, the page and the timeline."
    ),
    click.option("--html", type=FILLED, metavar="FILE", help="Write one self-contained page."),
    click.option(
        "--perfetto", type=FILLED, metavar="FILE", help="Write a timeline for ui.perfetto.dev."
    ),
)

as_json = click.option("--json", "as_json", is_flag=True,
                       help="Print one JSON document; its keys carry their units.")  # fmt: skip


def policy_changes(values: Values) -> Values:
    """Fields of a `Policy` that the user set."""
    renamed = {"timeout": "timeout_s"}
    changes = {renamed.get(k, k): v for k, v in values.items() if not k.startswith("no_")}
    off = {k.removeprefix("no_"): False for k, v in values.items() if k.startswith("no_") and v}
    return {k: v for k, v in (changes | off).items() if v is not None}


@contextmanager
def speaking(but: str = "") -> Iterator[None]:
    """Inside, faults that name arguments of Python name options instead; `but` stays as it is."""
    try:
        yield
    except MaquetteError as error:
        given = click.get_current_context().command.params
        shown = {p.name: p.opts[-1] for p in given if isinstance(p, click.Option) and p.name != but}
        raise InputError(*(_of_options(f, shown) for f in error.faults)) from None


def _of_options(fault: Fault, shown: Mapping[str, str]) -> Fault:
    """``rate and concurrency`` as ``--rate and --concurrency``; anything else as it is."""
    if fault.where == "traffic":
        made = "--input-tokens and --output-tokens with --rate or --concurrency"
        return replace(fault, where="", expected=f"--for PRESET, --trace FILE, or {made}")
    names = [n.removesuffix("_s") for n in fault.where.split(" and ")]
    if not all(n in shown for n in names):
        return fault
    return replace(fault, where=" and ".join(shown[n] for n in names))


def asked(
    model: str, machines: Values, calibration: str | None, traffic: Values | None = None
) -> list[Any]:
    """Model, systems, calibrations and requests that options name; all faults at once."""
    from maquette import api

    asks: list[Callable[[], Any]] = [
        lambda: api.model(model),
        lambda: api.systems(**machines),
        lambda: calibrations(calibration),
    ]
    if traffic is not None:
        asks.append(lambda: api.requests(**traffic))
    with speaking():
        return together(*asks)


def calibrations(path: str | None) -> Any:
    """The calibrations of a file, none where there is no file."""
    from maquette.catalogue.calibrations import load

    return load(path) if path else ()
