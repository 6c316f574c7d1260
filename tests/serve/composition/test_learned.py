"""A real composition, tiny: what it learns, and that the clock predicts what it copies."""

from __future__ import annotations

from itertools import count

import numpy as np
import pytest

from maquette.errors import InputError, NotYet, UnknownName
from maquette.serve.composition import learned
from maquette.serve.composition.domains import RULES, domains
from maquette.serve.composition.executed import Bank, execute, predicted
from maquette.serve.composition.learned import Sizes, learn, quality
from maquette.serve.composition.types import COPIED

torch = pytest.importorskip("torch")
TINY = Sizes(symbols=6, length=6, hidden=48, batch=64, steps=120, tests=300, rate=1e-2)


@pytest.fixture(scope="module")
def made():
    return learn(TINY, seed=3, names=("reverse", "sort", "peak"))


def test_rules_by_hand():
    for domain in domains(7, seed=1):
        x, y = domain.draw(20, 5, np.random.default_rng(0))
        assert x.shape == y.shape == (20, 5) and x.min() >= 0 and x.max() < 7
        assert (RULES[domain.name](x, 7) == y).all()
    x = np.array([[2, 0, 2, 6]])
    assert RULES["difference"](x, 7).tolist() == [[3, 5, 2, 4]]
    assert RULES["peak"](x, 7).tolist() == [[6, 2, 6, 6]]


def test_prompts_follow_the_chain_of_their_domain():
    (domain,) = domains(5, seed=0, names=["sort"])
    x, _ = domain.draw(20_000, 6, np.random.default_rng(1))
    seen = np.zeros((5, 5))
    np.add.at(seen, (x[:, :-1].ravel(), x[:, 1:].ravel()), 1)
    chances = np.diff(domain.steps, axis=1, prepend=0)
    assert seen / seen.sum(axis=1, keepdims=True) == pytest.approx(chances, abs=0.01)


def test_training_flops_are_equal(made):
    flops = made.training_flops
    assert flops["monolith"] == pytest.approx(flops["composition"], rel=0.02)
    assert flops["wide"] == pytest.approx(flops["composition"], rel=0.02)
    assert made.monolith[0].out_features >= TINY.hidden
    size = sum(p.numel() for p in made.wide.parameters())
    assert size == pytest.approx(3 * sum(p.numel() for p in made.experts[0].parameters()), rel=0.1)


def test_what_it_learns_is_measured(made):
    found = quality(made)
    assert [q.domain for q in found] == ["reverse", "sort", "peak"]
    assert all((q.kind, q.seed) == ("measured", 3) for q in found)
    chance = 1 / TINY.symbols
    for q in found:
        assert q.specialist > 0.6 and q.routed > 0.6 > 2 * chance
        assert q.composition <= q.specialist + 0.02  # a wrong expert is no better
    assert quality(made) == found


def test_same_seed_same_models(made):
    again = learn(TINY, seed=3, names=("reverse", "sort", "peak"))
    for a, b in zip(made.experts[0].parameters(), again.experts[0].parameters(), strict=True):
        assert torch.equal(a, b)
    assert torch.get_num_threads() >= 1


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_the_clock_predicts_copies_and_bytes(made, tmp_path, slots):
    stream = np.random.default_rng(5).integers(0, 3, 60)
    ticks = count(step=1000)  # a clock of our own: every part takes 1 us
    run = execute(made, stream, tmp_path, slots=slots, prompts=8, clock=lambda: next(ticks))
    told = predicted(run)
    assert ((told.found == COPIED) == (run.copied > 0)).all()
    assert told.uses[0].copies == run.copied.sum() >= 3
    assert told.uses[0].bytes_moved == run.copied.sum() * run.nbytes
    assert run.right > 0.5


def test_with_every_part_alike_the_time_is_the_same(made, tmp_path):
    ticks = count(step=1000)
    run = execute(made, np.array([0, 1, 2] * 5), tmp_path, slots=1, clock=lambda: next(ticks))
    hits = int((run.copied == 0).sum())
    # A look-up of 1 us is part of the run of a hit, and its median that of a copy here.
    assert predicted(run).end_ns == pytest.approx(run.total_ns - 1000 * hits)


def test_the_bank_holds_the_weights_of_the_file(made, tmp_path):
    bank = Bank(made.experts, 2, tmp_path)
    x = torch.zeros(1, TINY.width)
    for expert in (0, 1, 2, 0, 2, 1):
        model, _ = bank.fetch(expert)
        assert torch.equal(model(x), made.experts[expert](x))
    assert bank.copies == 5  # the second 2 was still there


def test_bad_input(made, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="slots: 4 for 3 experts"):
        Bank(made.experts, 4, tmp_path)
    with pytest.raises(InputError, match="steps: is 0"):
        Sizes(steps=0)
    with pytest.raises(UnknownName, match="did you mean reverse"):
        domains(4, 0, ["revers"])

    def missing(name: str):
        raise ImportError(name)

    monkeypatch.setattr(learned, "import_module", missing)
    with pytest.raises(NotYet, match="torch"):
        learned.torch()
