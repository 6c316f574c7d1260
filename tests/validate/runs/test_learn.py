"""Runs of a system with other constants: they are found again, and predictions get better."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from maquette import api
from maquette.catalogue.calibrations import load
from maquette.catalogue.write_calibrations import write
from maquette.errors import InputError
from maquette.price.calibration import NAMES
from maquette.report.runs import document, lines
from maquette.validate.runs.folder import Found
from maquette.validate.runs.forward import points, predict, seen
from maquette.validate.runs.learn import _folds, _others, learn
from maquette.validate.runs.types import Load, Run, Said, Spread
from maquette.validate.runs.update import Updates

SAID = Said(model="llama-3.1-8b", on="h200", engine="vllm", version="0.15.1")
LOADS = [  # rate, clients, tokens in and out
    (1, None, 512, 64), (8, None, 512, 64), (3, None, 2048, 128),
    (None, 1, 512, 64), (None, 16, 1024, 64), (None, 64, 1024, 32), (None, 32, 256, 128),
]  # fmt: skip
NOISE = 0.02
SHIFT = {"matrix": -0.10, "memory": -0.15, "kv": -0.10, "step": 0.8, "seq": 0.5}


def runs(quantities=("ttft", "tpot", "e2e")):
    return [
        Run(f"run {i}", "made up",
            Load(80, Spread(inputs, 0.0), Spread(outputs, 0.0), rate, clients),
            {(q, "mean"): 1.0 for q in quantities}, SAID)
        for i, (rate, clients, inputs, outputs) in enumerate(LOADS)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def truth():
    before = api.deployment("llama-3.1-8b", "h200", engine="vllm", tp=1, replicas=1).calibration
    moved = np.array([SHIFT.get(n, 0.0) for n in NAMES])
    return before.at(before.vector + moved)


def measure(held, cal, seed=0):
    """The points as a noisy system with other constants would measure them."""
    logs = iter(predict(held, cal, seed=91))
    rng = np.random.default_rng(seed)
    return [
        replace(
            p, measured={k: float(np.exp(next(logs) + rng.normal(0, NOISE))) for k in p.measured}
        )
        for p in held
    ]


@pytest.fixture(scope="module")
def measured(known, truth):
    return measure(points(runs(), api.deployment, known), truth)


@pytest.fixture(scope="module")
def learned(measured):
    return learn(measured)


def test_the_constants_are_found_within_their_posterior(learned, truth):
    sd = np.sqrt(np.diag(np.array(learned.after.covariance)))
    away = (learned.after.vector - truth.vector) / sd
    assert np.abs(away).max() < 3.0, dict(zip(NAMES, away.round(1), strict=True))
    wide = np.sqrt(np.diag(np.array(learned.before.covariance)))
    at = NAMES.index("step")
    assert sd[at] < wide[at]
    # What is launched in every step trades with the host's time: their sum is what runs tell.
    took = [_short_step(cal) for cal in (learned.before, truth, learned.after)]
    assert took[2] == pytest.approx(took[1], rel=0.05)
    assert abs(took[0] / took[1] - 1) > 0.1


def _short_step(cal):
    """Seconds of a step that decodes one token without context."""
    deployed = api.deployment("llama-3.1-8b", "h200", engine="vllm", tp=1, replicas=1)
    step = deployed.replica(cal=cal).step
    return step.overhead + step.tokens[1] + step.seqs[1]


def test_what_the_runs_do_not_touch_stays(learned):
    """One device: no collective runs."""
    at = [NAMES.index(n) for n in ("link", "collective")]
    assert learned.after.vector[at] == pytest.approx(learned.before.vector[at], abs=0.1)
    assert "collective" in learned.after.notes[0]


def test_errors_on_runs_not_used_fall_below_both_baselines(learned):
    found = {x.quantity: x for x in lines(learned)}
    for quantity in ("tpot", "e2e"):
        line = found[quantity]
        assert line.before.n == line.after.n == len(LOADS)
        assert line.after.ape_p50 < 0.5 * line.before.ape_p50
        assert line.after.ape_p50 < 0.05
        assert line.after.ape_p90 < line.constant.ape_p90
    assert found["ttft"].after.ape_p50 < found["ttft"].before.ape_p50


def test_intervals_hold_and_are_not_idle(learned):
    rows, told = learned.rows, learned.told_held_out
    z = (rows.measured - told.predicted) / told.sd
    assert 0.6 <= np.mean(np.abs(z) <= 1.2816) <= 1.0
    assert np.median(told.sd) < 0.15


def test_nothing_is_told_by_the_run_that_is_held_out(measured):
    """An absurd run changes the fits to it, never what is said of itself."""
    few = [measured[i] for i in (1, 3, 4)]
    wild = replace(few[0], measured={k: 3 * v for k, v in few[0].measured.items()})
    one, other = learn(few), learn([wild, *few[1:]])
    own = np.flatnonzero(one.rows.point == 0)
    a, b = one.told_held_out.predicted, other.told_held_out.predicted
    assert b[own] == pytest.approx(a[own], abs=1e-9)
    assert np.abs(np.delete(b - a, own)).max() > 0.05


def test_repetitions_of_a_run_share_a_fold(measured):
    fold = _folds([*measured, measured[2]])
    assert fold[-1] == fold[2] and len({*fold}) == 5


def test_one_condition_alone_holds_nothing_out(measured):
    found = learn([measured[3], measured[3]])
    assert found.told_held_out is None
    assert all(x.after is None for x in lines(found))
    told = document(Updates(Found("x", (), ()), (), (found,), ()), "y")
    assert told["calibrations"][0]["folds"] == 0
    assert told["calibrations"][0]["errors"][0]["held_out_n"] == 0


def test_a_written_calibration_is_read_back_and_used(learned, tmp_path):
    write([learned.after], tmp_path / "mine.toml")
    (back,) = load(tmp_path / "mine.toml")
    assert back.basis == "fitted" and back.version == "0.15.1"
    used = api.deployment("llama-3.1-8b", "h200", engine="vllm", calibration=[back]).calibration
    assert used["step"] == pytest.approx(learned.after["step"], rel=1e-4)


def test_runs_of_one_model_leave_others_open(learned):
    """What they tell of the machine holds for all; how far another model is off nobody saw."""
    after = learned.after
    own, other = after.of("llama-3.1-8b"), after.of("qwen3-32b")
    assert own.values == after.values == other.values
    apart = np.sqrt(other.residual**2 - own.residual**2)
    assert apart == pytest.approx(after.spreads["model"], rel=1e-6)


def test_what_was_known_of_a_model_is_not_written_for_all(known):
    """Runs just as foreseen change no constant, though the model was known to be slow."""
    found = points(runs()[:3], api.deployment, known)
    general = found[0].deployment.known
    odd = replace(general, spreads={"model": 0.1}, offsets={"model": {"llama-3.1-8b": (0.2, 0.01)}})
    slow = [replace(p, deployment=replace(p.deployment, known=odd)) for p in found]
    fitted = learn(measure(slow, odd), hold_out=False).after
    gap = _short_step(fitted) / _short_step(odd) - 1
    assert abs(gap) < 0.08  # and not 0.2: two runs at 2 % noise
    assert fitted.offsets["model"]["llama-3.1-8b"] == (0.2, 0.01)


def test_seen_is_what_clients_report(measured):
    """Against the columns of a trace, by hand."""
    from maquette.serve.simulate import simulate

    point = measured[4]
    trace = simulate(
        point.requests(0), point.deployment.fleet().replicas, point.deployment.plan.policy
    )
    after = (trace.finish_ns - trace.first_token_ns) / 1e9
    mean, gap, rate = seen(
        trace, [("tpot", "mean"), ("itl", "mean"), ("output_tokens_per_s", "mean")]
    )
    assert mean == pytest.approx(np.mean(after / 63)) and gap == pytest.approx(mean)
    assert rate == pytest.approx(80 * 64 / (trace.finish_ns.max() / 1e9))


def test_what_is_not_said_is_asked_for(known):
    with pytest.raises(InputError) as error:
        points([replace(r, said=Said()) for r in runs()[:2]], api.deployment, known)
    assert len(error.value.faults) == 4  # a model and devices, for each
    with pytest.raises(InputError, match=r"run 0: .*unknown machine"):
        points([replace(runs()[0], said=replace(SAID, on="h1000"))], api.deployment, known)


def test_what_is_unexplained_of_loads_that_were_not_run_stays(learned):
    known = {"closed ttft": 0.5, "open tpot": 0.1, "offline rate": 0.2}
    before = replace(learned.before, unexplained=known)
    open_only = replace(learned.rows, points=[p for p in learned.rows.points if p.run.load.rate])
    assert _others(before, open_only) == {"closed ttft": 0.5, "offline rate": 0.2}
    assert _others(before, learned.rows) == {"offline rate": 0.2}
