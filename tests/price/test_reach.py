"""Products in a narrow format reach what was measured of them, and never more than light."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from maquette.catalogue import engines, machines, models
from maquette.compiler.lower import lower
from maquette.models.decoder import program
from maquette.plans.types import Precision
from maquette.price.calibration import first_principles
from maquette.price.rates import reach
from maquette.price.seconds import IDEAL
from maquette.validate.static import Batches, prepare, seconds


def test_reach_is_the_ratio_of_measured_shares():
    h100 = machines.machine("h100-sxm")
    assert reach(h100, "fp8") == pytest.approx((1403 / 1979) / (794 / 989), rel=2e-3)
    assert reach(h100, "bf16") == 1.0
    assert reach(machines.machine("l40s"), "fp8") == 1.0  # no ceiling is known


def test_a_narrow_prompt_takes_as_much_longer_and_light_does_not():
    h100 = machines.machine("h100-sxm")
    blind = replace(h100, compute=replace(h100.compute, ceiling={}))
    whole = engines.engine("vllm")  # 1,024 sequences are sampled in more than weights leave
    engine = replace(whole, policy=replace(whole.policy, max_seqs=256))
    schedule = lower(program(models.model("llama-3.1-70b")), engine)
    one = np.ones(1)
    mesh = {"tp": one, "pp": one, "dp": one, "ep": one}
    fp8 = Precision("fp8", "fp8", "fp8")
    shape = (4 * one, 2000 * one, 2 * one)
    own, without = (prepare(Batches(m, engine, schedule, fp8, *shape, mesh)) for m in (h100, blind))
    cal = first_principles("h100-sxm", "vllm")
    took = [seconds(p, cal).ttft[0] for p in (own, without)]
    assert 0.8 < (took[0] / took[1] - 1) / (1 / reach(h100, "fp8") - 1) <= 1.0
    assert seconds(own, IDEAL).ttft[0] == seconds(without, IDEAL).ttft[0]
