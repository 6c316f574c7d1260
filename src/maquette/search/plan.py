"""The search: price the whole space, prune by bounds, simulate what is left, explain the best."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from maquette.catalogue import engines
from maquette.catalogue.calibrations import find
from maquette.catalogue.models import repository
from maquette.compile.lower import lower
from maquette.models.decoder import program
from maquette.plans.legality import PRECISIONS
from maquette.plans.types import Policy
from maquette.price.calibration import Calibration
from maquette.price.seconds import priceable
from maquette.search.bounds import Lengths
from maquette.search.evaluate import Setting, judge, missed, run, spread
from maquette.search.explain import binding, compare, gains, saturation, sections, shares
from maquette.search.launch import launch
from maquette.search.screen import Screened, nondominated, screen, shortlist
from maquette.search.space import Space, space
from maquette.search.types import Answer, Candidate, Explanation, Outcome, Question, Share
from maquette.traffic.describe import describe, head, scale
from maquette.traffic.types import Requests

SIMULATED = 24  # candidates simulated at most
SCREENING = 2000  # requests that candidates are compared on
EXPLAINING = 1000  # requests that what-ifs of the winner are run on
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Ground:
    """One system under one engine: what was found on it."""

    setting: Setting
    where: Space
    screened: Screened


def silent(stage: str, done: int, total: int) -> None:
    """Progress to nobody."""


def plan(question: Question, progress: Progress = silent, policy: Policy | None = None) -> Answer:
    """The cheapest plan that keeps the targets, and why.  See `Answer`.

    Candidates are simulated cheapest first on the same requests; the search stops early when a
    price level has a plan that keeps the targets and two to compare it with.  A KeyboardInterrupt
    ends the simulations and keeps what was found.
    """
    requests = question.requests
    few = head(requests, SCREENING) if len(requests) > SCREENING else requests
    lengths, rate = _lengths(few, question), _rate(few)
    grounds = _grounds(question, few, lengths, rate, policy, progress)
    owner = {id(c): g for g in grounds for c in g.screened.candidates}
    everything = [c for g in grounds for c in g.screened.candidates]
    outcomes, interrupted = _simulate(everything, owner, progress)
    ranked = tuple(sorted(outcomes, key=_rank))
    winner = next((o for o in ranked if o.meets), None)
    explanation = None
    if winner is not None and not interrupted:
        try:
            winner, explanation = _explain(winner, ranked, owner, question, progress)
            ranked = (winner, *(o for o in ranked if o.candidate is not winner.candidate))
        except KeyboardInterrupt:
            interrupted = True
    return _answer(question, grounds, ranked, winner, explanation, interrupted)


def _grounds(
    question: Question,
    requests: Requests,
    lengths: Lengths,
    rate: float,
    policy: Policy | None,
    progress: Progress,
) -> list[Ground]:
    formats = question.precisions or (question.model.native,)
    precisions = tuple(PRECISIONS[f] for f in formats)
    model = program(question.model)
    pairs = [(s, e) for s in question.systems for e in question.engines]
    found = []
    for i, (system, name) in enumerate(pairs):
        progress("pricing", i, len(pairs))
        priceable(system.machine)
        chosen = engines.engine(name)
        chosen = replace(chosen, policy=engines.policy(chosen, system.machine))
        schedule = lower(model, chosen)
        cal = find(system.machine, name, question.calibrations)
        setting = Setting(schedule, chosen, cal, requests, question.targets)
        where = space(model, schedule, system, chosen, precisions, policy)
        screened = screen(schedule, where, cal, lengths, rate, question.targets)
        found.append(Ground(setting, where, screened))
    return found


def _simulate(
    candidates: list[Candidate], owner: dict[int, Ground], progress: Progress
) -> tuple[list[Outcome], bool]:
    outcomes: list[Outcome] = []
    chosen = shortlist(candidates, SIMULATED)
    try:
        for i, candidate in enumerate(chosen):
            progress("simulating", i, len(chosen))
            if _enough(outcomes, candidate):
                break
            setting = owner[id(candidate)].setting
            outcomes.append(judge(setting, candidate, run(setting, candidate)))
    except KeyboardInterrupt:
        return outcomes, True
    return outcomes, False


def _enough(outcomes: list[Outcome], coming: Candidate) -> bool:
    """Whether a dearer candidate cannot win any more and there is something to compare with."""
    good = [o for o in outcomes if o.meets]
    if len({o.plan.mesh for o in good}) < 2:
        return False
    return coming.usd_per_hour > min(o.candidate.usd_per_hour for o in good)


def _rank(o: Outcome) -> tuple[bool, float, float, float]:
    """Those that keep the targets first, then the cheapest, then the one furthest from missing.

    Of plans that miss, the nearest to keeping them comes first.
    """
    usd = float(np.nan_to_num(o.candidate.usd_per_hour))
    if not o.meets:
        return (True, -o.margin, usd, 0.0)
    return (False, usd, -o.margin, o.metrics.tpot.mean)


def _explain(
    winner: Outcome,
    ranked: tuple[Outcome, ...],
    owner: dict[int, Ground],
    question: Question,
    progress: Progress,
) -> tuple[Outcome, Explanation]:
    candidate = winner.candidate
    whole, chosen = owner[id(candidate)].setting, candidate.plan
    lengths = _lengths(whole.requests, question)
    setting = whole
    if len(whole.requests) > EXPLAINING:
        setting = replace(whole, requests=head(whole.requests, EXPLAINING))

    def holds(factor: float) -> bool:
        faster = replace(setting, requests=scale(setting.requests, factor=factor))
        return not missed(run(faster, candidate), question.targets)

    def step(batch: float, new: float, context: float) -> tuple[Share, ...]:
        cal, machine = setting.calibration, candidate.system.machine
        priced = sections(
            setting.schedule, machine, chosen, cal, batch=batch, new=new, context=context
        )
        return shares(priced, cal, batch)

    progress("explaining", 0, 3)
    intervals, probability = spread(setting, winner, seed=question.seed)
    winner = replace(winner, intervals=intervals, probability=probability)
    progress("explaining", 1, 3)
    decode = step(
        max(1.0, candidate.batch / chosen.mesh.lanes), 1.0, lengths.input + lengths.output / 2
    )
    prefill = step(1.0, min(lengths.input, chosen.policy.max_batched_tokens), lengths.input)
    bought = gains(setting, winner)
    progress("explaining", 2, 3)
    found = Explanation(
        decode=decode,
        prefill=prefill,
        binding=binding(decode),
        gains=bought,
        runner_up=tuple(line for o in _rivals(winner, ranked) for line in compare(winner, o)),
        saturation=saturation(setting, winner, holds),
    )
    return winner, found


def _rivals(winner: Outcome, ranked: tuple[Outcome, ...]) -> list[Outcome]:
    """The next best mesh that keeps the targets, and the nearest miss that costs less."""
    other = [o for o in ranked if o.meets and o.plan.mesh != winner.plan.mesh]
    usd = winner.candidate.usd_per_hour
    missed_ = [o for o in ranked if not o.meets and o.candidate.usd_per_hour < usd]
    return [*other[:1], *missed_[:1]]


def _answer(
    question: Question,
    grounds: list[Ground],
    ranked: tuple[Outcome, ...],
    winner: Outcome | None,
    explanation: Explanation | None,
    interrupted: bool,
) -> Answer:
    infeasible: Counter[str] = Counter()
    pruned: Counter[str] = Counter()
    for g in grounds:
        infeasible.update(g.where.infeasible)
        pruned.update(g.screened.pruned)
    commands = {}
    if winner is not None:
        where = winner.candidate.system
        name = repository(question.model)
        commands = dict(launch(name, question.model.native, winner.plan, where))
    prices = {g.where.system.machine.name: g.where.system.machine.price for g in grounds}
    return Answer(
        question=question,
        enumerated=sum(g.where.enumerated for g in grounds),
        infeasible=dict(infeasible),
        pruned=dict(pruned),
        outcomes=ranked,
        frontier=nondominated(p for g in grounds for p in g.screened.frontier),
        winner=winner,
        explanation=explanation,
        launch=commands,
        calibrations=_sources(grounds),
        price_dates={k: p.date for k, p in prices.items() if p is not None},
        warnings=tuple(_warnings(question, grounds, ranked)),
        interrupted=interrupted,
    )


def _sources(grounds: list[Ground]) -> dict[str, Calibration]:
    return {
        f"{g.where.system.machine.name}/{g.where.engine.name}": g.setting.calibration
        for g in grounds
    }


def _warnings(question: Question, grounds: list[Ground], ranked: tuple[Outcome, ...]) -> list[str]:
    found = []
    if question.assumed:
        found.append("no targets were given: these are assumed; --ttft and --tpot set them")
    for g in grounds:
        if g.setting.calibration.basis != "fitted":
            cal = g.setting.calibration
            found.append(f"{g.where.system.machine.name}: {cal.basis}; {cal.source}")
        if g.where.system.machine.price is None:
            found.append(f"{g.where.system.machine.name} has no price: its plans rank as free")
    if len(question.requests) > SCREENING:
        found.append(f"candidates were compared on the first {SCREENING} requests")
    if ranked and not any(o.meets for o in ranked):
        found.append("no simulated plan keeps the targets; the nearest are listed")
    return found


def _lengths(requests: Requests, question: Question) -> Lengths:
    ordered = np.sort(requests.input_tokens)
    at = int(np.ceil(question.targets.percentile / 100 * len(ordered))) - 1
    return Lengths(
        input=float(requests.input_tokens.mean()),
        output=float(requests.output_tokens.mean()),
        input_at_percentile=float(ordered[max(at, 0)]),
        cached=describe(requests).cacheable_share or 0.0,
        concurrency=float(requests.concurrency),
    )


def _rate(requests: Requests) -> float:
    """Requests per second offered; a closed loop offers what is served, so nothing is asked."""
    span = float(requests.arrival_ns[-1] - requests.arrival_ns[0]) * 1e-9
    if requests.concurrency or span <= 0:
        return 0.0
    return (len(requests) - 1) / span
