"""Random programs compiled and held against torch; seeds that once found something stay."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
agreement = pytest.importorskip("run.agreement")
programs = pytest.importorskip("run.random_programs")


@pytest.mark.parametrize("seed", range(30))
def test_as_numpy_runs_them(seed):
    program = programs.Program(seed)
    agreement.agree(program.__call__, *program.args, target="numpy")


@pytest.mark.parametrize("seed", range(100, 109))
def test_as_generated_code_runs_them(seed):
    program = programs.Program(seed)
    compiled = agreement.agree(program.__call__, *program.args, target=agreement.TARGETS[-1])
    with torch.no_grad():  # again, with what the first call left in memory, and elsewhere
        args = [x.clone() for x in program.args]
        first, second = compiled(*program.args), compiled(*args)
    torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-6, equal_nan=True)
