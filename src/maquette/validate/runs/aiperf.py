"""AIPerf and GenAI-Perf: ``profile_export_aiperf.json``, ``profile_export_genai_perf.json``.

A metric is an object of statistics with its unit (`docs/reference/json-export-schema.md` of
ai-dynamo/aiperf, schema 1.5); the set of metrics is open by that document, so those that are not
needed are left alone.  Their inter-token latency is of each request: what others call TPOT.
"""

from __future__ import annotations

from typing import Any

from maquette.traffic.arrivals import Arrivals
from maquette.validate.runs.keys import Keys
from maquette.validate.runs.types import STATISTICS, Key, Load, Run, Said, Spread

TIMES = {"time_to_first_token": "ttft", "inter_token_latency": "tpot", "request_latency": "e2e"}
SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "sec": 1.0, "seconds": 1.0}
FIELDS = r"unit|avg|min|max|std|count|sum|(adj_)?p\d+"
PERCENTS = (1, 5, 10, 25, 50, 75, 90, 95, 99)


def recognised(data: Any) -> bool:
    """Whether an object looks like an export of these tools."""
    metric = data.get("request_latency") if isinstance(data, dict) else None
    return isinstance(metric, dict) and "unit" in metric


def read(keys: Keys) -> Run | None:
    """The run of one export; None after a fault."""
    before = len(keys.faults)
    if keys.data.get("was_cancelled"):
        keys.wrong("was_cancelled", "the run was interrupted")
    measured: dict[Key, float] = {}
    for name, quantity in TIMES.items():
        measured |= _times(keys.under(name), quantity)
    through = keys.under("output_token_throughput").number("avg")
    inputs, outputs = (
        _spread(keys.under(n)) for n in ("input_sequence_length", "output_sequence_length")
    )
    done = _count(keys)
    config = keys.under("input_config") if "input_config" in keys else Keys({}, keys.file, [])
    load = None if None in (inputs, outputs, done) else _load(config, done, inputs, outputs)  # type: ignore[arg-type]
    if len(keys.faults) > before or load is None or through is None:
        return None
    measured["output_tokens_per_s", "mean"] = through
    tool = "AIPerf" if "aiperf_version" in keys or "aiperf" in keys.file else "GenAI-Perf"
    return Run(keys.file, tool, load, measured, Said(model=_model(config)))


def _times(metric: Keys, quantity: str) -> dict[Key, float]:
    metric.only((), FIELDS)
    unit = metric.text("unit")
    if metric.data and unit not in SECONDS:
        metric.wrong("unit", f"is {unit!r}", f"one of {', '.join(SECONDS)}")
        return {}
    found: dict[Key, float] = {}
    for statistic in STATISTICS:
        key = "avg" if statistic == "mean" else statistic
        value = metric.number(key) if key == "avg" else metric.maybe(key)
        if value is not None:
            found[quantity, statistic] = value * SECONDS[unit or "s"]
    return found


def _spread(metric: Keys) -> Spread | None:
    metric.only((), FIELDS)
    mean, sd = metric.number("avg"), metric.maybe("std", zero=True)
    at = {"min": 0.0, **{f"p{p}": p / 100 for p in PERCENTS}, "max": 1.0}
    known = {p: metric.maybe(k, zero=True) for k, p in at.items()}
    if mean is None:
        return None
    return Spread(mean, sd, {p: x for p, x in known.items() if x is not None})


def _count(keys: Keys) -> int | None:
    """Requests that finished; GenAI-Perf counts them where the tool is old, in lengths only."""
    failed = keys.under("error_request_count").maybe("avg") if "error_request_count" in keys else 0
    name = "request_count" if "request_count" in keys else "request_latency"
    field = "avg" if name == "request_count" else "count"
    found = keys.under(name).whole(field)
    if found and (failed or 0) > 0.05 * found:
        keys.wrong("error_request_count", f"{failed:g} failed beside {found}", "1 of 20 at most")
    return found


def _load(config: Keys, done: int, inputs: Spread, outputs: Spread) -> Load:
    """What was sent; neither rate nor clients where the configuration does not tell."""
    held = _stimulus(config)
    rate = held.maybe("rate" if "rate" in held else "request_rate")
    clients = held.data.get("concurrency")
    if isinstance(clients, list) and len(clients) == 1:
        clients = clients[0]
    if clients is not None and not (isinstance(clients, int) and clients >= 1):
        held.wrong("concurrency", f"is {clients!r}", "one whole number above 0")
        clients = None
    if rate is not None and clients is not None:
        held.wrong("concurrency", f"is {clients} beside a rate of {rate:g}/s", "one of the two",
                   "a rate that waits for clients is not simulated")  # fmt: skip
    return Load(done, inputs, outputs, rate, clients, _arrivals(held))


def _stimulus(config: Keys) -> Keys:
    """AIPerf: ``loadgen``, or since its files of phases the one of ``phases`` that is profiled;
    GenAI-Perf: ``perf_analyzer.stimulus``, or in old versions the configuration itself."""
    if "loadgen" in config:
        return config.under("loadgen")
    if "perf_analyzer" in config:
        return config.under("perf_analyzer").under("stimulus")
    phases = config.data.get("phases")
    if isinstance(phases, dict):
        phases = [{"name": name, **held} for name, held in phases.items()]
    for i, phase in enumerate(phases or ()):
        if phase.get("name") == "profiling":
            return Keys(phase, config.file, config.faults, f"input_config.phases[{i}]")
    return config


def _arrivals(held: Keys) -> Arrivals | None:
    pattern = held.text("arrival_pattern") or held.text("request_rate_mode") or held.text("type")
    if pattern not in ("poisson", "constant", "gamma"):
        return None
    smooth = held.maybe("arrival_smoothness") or 1.0
    if pattern == "gamma":
        return Arrivals("gamma", cv=smooth**-0.5)
    return Arrivals("poisson" if pattern == "poisson" else "constant")


def _model(config: Keys) -> str | None:
    models = config.data.get("models")
    items = models.get("items") if isinstance(models, dict) else None
    if isinstance(items, list) and len(items) == 1 and isinstance(items[0], dict):
        return str(items[0].get("name"))
    for held in (config, config.under("endpoint") if "endpoint" in config else config):
        names = held.data.get("model_names") or held.data.get("model")
        if isinstance(names, str):
            return names
        if isinstance(names, list) and len(names) == 1:
            return str(names[0])
    return None
