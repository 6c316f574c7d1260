"""A trial of the intervals: measured rows of made-up machines whose constants are known.

The truth of a machine and engine is drawn from the prior of its constants; what no constant
explains is drawn too: every model is off by a share of its own (`fit.OFFSETS`), every row by a
little more, and repeats scatter by their noise floors.  Rows are written as a benchmark would
write them, so that a fit, a hold-out and the scores see files and nothing else.  What a trial tells
is whether the machinery means what it says; whether real machines lie within the prior only real
rows tell.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from maquette.compiler.lower import lower
from maquette.plans.types import Infeasible, Mesh, Plan, Precision
from maquette.price.calibration import NAMES, PARAMETERS, Calibration, first_principles
from maquette.price.replica import replica
from maquette.price.step import Replica
from maquette.serve.simulate import simulate
from maquette.traffic.arrivals import Arrivals
from maquette.traffic.lengths import lognormal, uniform
from maquette.traffic.spec import CV, TrafficSpec, generate
from maquette.units import PerSecond
from maquette.validate import score
from maquette.validate.fit import OFFSETS, prior
from maquette.validate.holdout import WAYS, held_out
from maquette.validate.lanes import LANES
from maquette.validate.score import NOISE_FLOORS
from maquette.validate.serving import measures
from maquette.validate.shelf import Shelf
from maquette.validate.static import AXES, Batches, prepare, seconds

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
# Of a row, beside its model's offset: kernels differ with shapes, and prefill more than decode.
ROW_SD: Mapping[str, float] = {"ttft": 0.04, "e2e": 0.025}
STEP_SD = 0.025  # of all steps of a serving run
SHAPES = tuple(
    (b, i, o, tp) for b in (1, 4, 16, 64) for i, o in ((128, 256), (1024, 128)) for tp in (1, 2)
)
LOADS = (0.5, 0.8)  # of the rate that is sustained
CLIENTS = (4, 48)
LENGTHS = (700.0, 180.0)  # mean tokens in and out of serving runs
STAGE_S = 90.0
STATIC = ("hardware", "engine", "version", "model", "tp", "batch", "input_len", "output_len",
          "dtype", "ttft_s", "latency_s")  # fmt: skip
STAGES = ("hardware", "engine", "version", "model", "tp", "rate", "duration_s", "input_len_mean",
          "output_len_mean", "ttft_mean_s", "ttft_p99_s", "itl_mean_s", "e2e_mean_s")  # fmt: skip
CLOSED = ("hardware", "engine", "version", "model", "tp", "concurrency", "isl", "osl",
          "ttft_mean_s", "tpot_mean_s")  # fmt: skip


@dataclass(frozen=True)
class World:
    """What there is to measure.  Machines after the first resemble it as relatives do."""

    machines: tuple[str, ...] = ("h100-sxm", "h200")
    engine: str = "vllm"
    version: str = "0.15.1"
    models: tuple[str, ...] = ("llama-2-7b", "llama-3-8b", "qwen2-7b", "mistral-7b")
    shapes: Sequence[tuple[int, int, int, int]] = SHAPES
    serving: bool = True
    apart: float = 0.08  # deviation of the logarithm of every constant between relatives


def write(folder: Path, world: World, shelf: Shelf, seed: int) -> None:
    """Rows of one draw of a world, as files in `folder`."""
    rng = np.random.default_rng(seed)
    static: list[Sequence[object]] = []
    stages: list[Sequence[object]] = []
    closed: list[Sequence[object]] = []
    for machine, truth in truths(world, shelf, rng).items():
        for model in world.models:
            off = float(np.exp(rng.normal(0.0, OFFSETS["model"])))
            head = (machine, world.engine, world.version, model)
            static += _static(head, world, shelf, truth, off, rng)
            if world.serving:
                served = _Served(head, world, shelf, truth, off)
                stages += served.stages(rng)
                closed += served.closed(rng)
    _file(folder / "llm_static.csv", STATIC, static)
    if world.serving:
        _file(folder / "serving_vllm_stages_trial.csv", (*STAGES, "split"), _kept(stages))
        _file(folder / "inferencex_trial.csv", (*CLOSED, "split"), _kept(closed))


def truths(world: World, shelf: Shelf, rng: np.random.Generator) -> dict[str, Calibration]:
    """The constants of every machine, drawn."""
    first = prior(shelf.machines[world.machines[0]])
    centre = rng.multivariate_normal(first.mean, first.covariance)
    found = {}
    for i, name in enumerate(world.machines):
        logs = centre + (rng.normal(0.0, world.apart, len(NAMES)) if i else 0.0)
        ceiling = np.array([0.0 if PARAMETERS[n][2] else np.inf for n in NAMES])
        blank = first_principles(name, world.engine)
        found[name] = blank.at(np.minimum(logs, ceiling))
    return found


def _static(
    head: Sequence[str], world: World, shelf: Shelf, truth: Calibration, off: float,
    rng: np.random.Generator,
) -> Iterator[Sequence[object]]:  # fmt: skip
    machine, engine, _, model = head
    batch, inputs, outputs, tp = (np.array(x, float) for x in zip(*world.shapes, strict=True))
    device, stack = shelf.machines[machine], shelf.engines[engine]
    prepared = prepare(
        Batches(
            device, replace(stack, policy=shelf.policy(stack, device)),
            lower(shelf.program(model), stack), Precision(), batch, inputs, outputs,
            dict.fromkeys(AXES, np.ones_like(batch)) | {"tp": tp},
        )
    )  # fmt: skip
    took = seconds(prepared, truth)
    for i, (b, n, m, t) in enumerate(world.shapes):
        if prepared.why[i] == "":
            values = [
                getattr(took, q)[i] * off * _scatter(rng, ROW_SD[q], NOISE_FLOORS["static", q][0])
                for q in ("ttft", "e2e")
            ]
            yield (*head, t, b, n, m, "bf16", *(f"{v:.9g}" for v in values))


def _scatter(rng: np.random.Generator, *sd: float) -> float:
    return float(np.exp(rng.normal(0.0, np.linalg.norm(sd))))


class _Served:
    """One model on one device of the true constants, run by a benchmark client."""

    def __init__(
        self, head: Sequence[str], world: World, shelf: Shelf, truth: Calibration, off: float
    ) -> None:
        machine, engine, _, model = head
        device, stack = shelf.machines[machine], shelf.engines[engine]
        self.head, self.off = head, off
        policy = shelf.policy(stack, device)
        self.plan = Plan(Precision(), Mesh(1), policy, engine=engine)
        schedule = lower(shelf.program(model), stack)
        found = replica(schedule, device, stack, self.plan, truth)
        assert not isinstance(found, Infeasible)
        self.replica = found

    def stages(self, rng: np.random.Generator) -> Iterator[Sequence[object]]:
        """Open-loop stages at shares of the sustained rate."""
        sent, answered = (lognormal(mean=x, cv=CV) for x in LENGTHS)
        probe = generate(TrafficSpec(sent, answered, PerSecond(1.0)), 200, seed=0)
        able = simulate(probe, [self.replica], self.plan.policy).sustainable_per_s
        for share in LOADS:
            rate = float(f"{able / self.off * share:.3g}")
            spec = TrafficSpec(sent, answered, PerSecond(rate))
            saw = self._run(spec, max(50, round(rate * STAGE_S)), rng)
            keys = (("ttft", "mean"), ("ttft", "p99"), ("tpot", "mean"), ("e2e", "mean"))
            names = ("ttft", "ttft_p99", "tpot", "e2e")
            floors = [NOISE_FLOORS["stages", n][0] for n in names]
            # Queues scatter by themselves; repeats of one stream scatter by a part of the floor.
            values = [saw[k] * _scatter(rng, f / 2) for k, f in zip(keys, floors, strict=True)]
            yield (*self.head, 1, rate, STAGE_S, *LENGTHS, *(f"{v:.9g}" for v in values))

    def closed(self, rng: np.random.Generator) -> Iterator[Sequence[object]]:
        """A closed loop of clients that draw lengths below nominal ones, as InferenceX does."""
        sent, answered = (uniform(round(0.8 * x), round(x)) for x in LENGTHS)
        for clients in CLIENTS:
            spec = TrafficSpec(sent, answered, None, Arrivals("closed", concurrency=clients))
            saw = self._run(spec, max(50, 10 * clients), rng)
            values = [
                saw[q, "mean"] * _scatter(rng, NOISE_FLOORS["closed", q][0] / 2)
                for q in ("ttft", "tpot")
            ]
            yield (*self.head, 1, clients, *LENGTHS, *(f"{v:.9g}" for v in values))

    def _run(self, spec: TrafficSpec, n: int, rng: np.random.Generator) -> dict[Any, float]:
        factor = self.off * _scatter(rng, STEP_SD)
        slow: Replica = replace(self.replica, step=self.replica.step.scaled(factor))
        sent = generate(spec, n, seed=int(rng.integers(1 << 30)))
        return measures(simulate(sent, [slow], self.plan.policy))


def _kept(rows: Sequence[Sequence[object]]) -> list[Sequence[object]]:
    """Rows that no fit takes."""
    return [(*row, "heldout") for row in rows]


def _file(path: Path, heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(heads)
        writer.writerows(rows)


class Inside(NamedTuple):
    """Rows of one hold-out, lane and quantity: inside their 80 % interval, and how wide that is."""

    way: str
    lane: str
    quantity: str
    inside: Bools
    width: Floats  # of the interval's logarithm
    gap: Floats  # log(measured / predicted)


def run(
    world: World, shelf: Shelf, seed: int, ways: Sequence[str] = WAYS, lanes: Sequence[str] = LANES
) -> list[Inside]:
    """One draw of a world, held out in all `ways`."""
    with TemporaryDirectory() as folder:
        write(Path(folder), world, shelf, seed)
        found = held_out(folder, shelf, ways, lanes, limit=None)
    return [
        Inside(
            way,
            s.lane,
            s.quantity,
            (s.measured >= s.low) & (s.measured <= s.high),
            np.log(s.high / s.low),
            np.log(s.measured / s.predicted),
        )
        for way, scores in found.scored.items()
        for s in (x.where(~x.calibration) for x in score.joined(scores))
    ]


def pooled(runs: Iterable[Inside]) -> list[Inside]:
    """Rows of many draws together."""
    parts: dict[tuple[str, str, str], list[Inside]] = {}
    for one in runs:
        parts.setdefault(one[:3], []).append(one)
    return [
        Inside(*key, *(np.concatenate([p[i] for p in own]) for i in (3, 4, 5)))
        for key, own in parts.items()
    ]
