"""An engine's process: started, waited for, read, and never left behind."""

from __future__ import annotations

import os
import sys
import time

import pytest

from maquette.errors import InputError
from maquette.measure.client import drive
from maquette.measure.engine import BLOCK, Launch, engine, ready
from maquette.traffic.spec import generate, synthetic

# A Python that has "vLLM": it answers as one, and starts a server that sleeps instead of a model.
SHIM = """#!{python}
import sys
sys.path.insert(0, {tests!r})
if sys.argv[1] == "-c":
    print("9.9.9")
    raise SystemExit
{dies}
from measure.fake_engine import serve_at
print("GPU KV cache size: 32,768 tokens", flush=True)
serve_at(int(sys.argv[sys.argv.index("--port") + 1]))
"""


@pytest.fixture
def python(tmp_path):
    """A function that makes such a Python; it may die before it is up."""

    def made(dies=""):
        path = tmp_path / "python"
        tests = os.path.dirname(os.path.dirname(__file__))
        path.write_text(SHIM.format(python=sys.executable, tests=tests, dies=dies))
        path.chmod(0o755)
        return Launch(1, python=str(path))

    return made


def alive(log):
    """Whether a process that the log names still runs."""
    pid = int(log.read_text().split("pid ")[1].split()[0])
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_it_is_up_answers_and_is_gone(python, tmp_path):
    launch, log = python(), tmp_path / "engine.log"
    assert ready(launch) == "9.9.9"
    with engine(launch, "9.9.9", tmp_path, 1000, log) as up:
        assert up.version == "9.9.9" and up.kv_blocks == 32_768 // BLOCK
        spec = synthetic(input_tokens=5, output_tokens=2, concurrency=1, distribution="fixed")
        assert drive(up.server, generate(spec, 3)).done.all()
        assert alive(log)
    until = time.monotonic() + 10
    while alive(log) and time.monotonic() < until:
        time.sleep(0.05)
    assert not alive(log)


def test_it_is_gone_after_an_error_too(python, tmp_path):
    log = tmp_path / "engine.log"
    with pytest.raises(ZeroDivisionError), engine(python(), "9.9.9", tmp_path, 1000, log):
        raise ZeroDivisionError
    assert not alive(log)


def test_one_that_dies_says_why(python, tmp_path):
    launch = python(dies="raise RuntimeError('no such instruction')")
    log = tmp_path / "engine.log"
    with (
        pytest.raises(InputError, match=r"did not come up: .*no such instruction"),
        engine(launch, "9.9.9", tmp_path, 1000, log),
    ):
        pass
