"""GuideLLM: ``benchmarks.json``, one run per entry of ``benchmarks``.

Keys as the schemas of vllm-project/guidellm (2026) and its releases since 0.2 have them; the
objects are open there (`StandardBaseDict`), so what is not needed is left alone.  Its time per
output token counts the first one too and is not read; its inter-token latency is weighted by
tokens, so its mean is over gaps.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from maquette.traffic.arrivals import Arrivals
from maquette.validate.runs.keys import Keys
from maquette.validate.runs.types import STATISTICS, Key, Load, Run, Said, Spread

MILLI = 1e-3
SHARES = {"p001": 0.001, "p01": 0.01, "p05": 0.05, "p10": 0.1, "p25": 0.25, "p50": 0.5,
          "p75": 0.75, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999}  # fmt: skip


def recognised(data: Any) -> bool:
    """Whether an object looks like a report of this tool."""
    return isinstance(data, dict) and isinstance(data.get("benchmarks"), list)


def read(keys: Keys) -> Iterator[Run | None]:
    """The runs of one report; None after a fault."""
    if not keys.data["benchmarks"]:
        keys.wrong("benchmarks", "is empty", "one run at least")
    for i, entry in enumerate(keys.data["benchmarks"]):
        yield _run(Keys(entry, keys.file, keys.faults, f"benchmarks[{i}]"), keys, i)


def _run(entry: Keys, report: Keys, nth: int) -> Run | None:
    before = len(entry.faults)
    metrics = entry.under("metrics")
    measured = {
        **_times(metrics, "time_to_first_token_ms", "ttft", MILLI, STATISTICS),
        **_times(metrics, "inter_token_latency_ms", "itl", MILLI, ("mean",)),
        **_times(metrics, "request_latency", "e2e", 1.0, STATISTICS),
    }
    through = _of(metrics, "output_tokens_per_second").number("mean")
    inputs, outputs = (_spread(metrics, n) for n in ("prompt_token_count", "output_token_count"))
    done = _count(metrics)
    where = "config" if "config" in entry else "args"
    strategy = entry.under(where).under("strategy")
    rate, clients, arrivals = _strategy(strategy, done)
    if len(entry.faults) > before or not (inputs and outputs and done and through):
        return None
    measured["output_tokens_per_s", "mean"] = through
    load = Load(done, inputs, outputs, rate, clients, arrivals)
    name = f"{entry.file} benchmarks[{nth}]"
    return Run(name, "GuideLLM", load, measured, Said(model=_model(entry, report)))


def _of(metrics: Keys, name: str) -> Keys:
    """A summary of successful requests."""
    return metrics.under(name).under("successful")


def _times(
    metrics: Keys, name: str, quantity: str, unit: float, wanted: tuple[str, ...]
) -> dict[Key, float]:
    held = _of(metrics, name)
    percentiles = held.under("percentiles") if "percentiles" in held else held
    found: dict[Key, float] = {}
    for statistic in wanted:
        value = held.number("mean") if statistic == "mean" else percentiles.maybe(statistic)
        if value is not None:
            found[quantity, statistic] = value * unit
    return found


def _spread(metrics: Keys, name: str) -> Spread | None:
    held = _of(metrics, name)
    mean, sd = held.number("mean"), held.maybe("std_dev", zero=True)
    known = {0.0: held.maybe("min", zero=True), 1.0: held.maybe("max", zero=True)}
    if "percentiles" in held:
        percentiles = held.under("percentiles")
        known |= {p: percentiles.maybe(k, zero=True) for k, p in SHARES.items()}
    if mean is None:
        return None
    return Spread(mean, sd, {p: x for p, x in sorted(known.items()) if x is not None})


def _count(metrics: Keys) -> int | None:
    if "request_totals" not in metrics:
        return _of(metrics, "request_latency").whole("count")
    totals = metrics.under("request_totals")
    done, failed = totals.whole("successful"), totals.maybe("errored", zero=True) or 0
    if done and failed > 0.05 * done:
        totals.wrong("errored", f"{failed:g} failed beside {done}", "1 of 20 at most")
    return done


def _strategy(strategy: Keys, done: int | None) -> tuple[float | None, int | None, Arrivals | None]:
    """Rate, clients and arrivals."""
    kind = strategy.text("type_")
    if kind == "synchronous":
        return None, 1, None
    if kind == "concurrent":
        return None, strategy.whole("streams"), None
    if kind == "throughput":
        most = strategy.maybe("max_concurrency")
        return None, int(most) if most else done, None
    if kind in ("constant", "poisson"):
        process = Arrivals("constant" if kind == "constant" else "poisson")
        return strategy.number("rate"), None, process
    expected = "synchronous, concurrent, throughput, constant or poisson"
    strategy.wrong("type_", f"is {kind!r}", expected)
    return None, None, None


def _model(entry: Keys, report: Keys) -> str | None:
    for held, path in ((report, ("args",)), (entry, ("config", "backend")), (entry, ("args",))):
        data: Any = held.data
        for name in (*path, "model"):
            data = data.get(name) if isinstance(data, dict) else None
        if isinstance(data, str):
            return data
    return None
