"""Work of others is seen, and our own is not counted as theirs."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from maquette.bench import others as module
from maquette.bench.contest import Case, Contender, hold
from maquette.bench.others import others
from maquette.report import benchmarks

pytestmark = pytest.mark.skipif(others()() is None, reason="the system does not say")
WORK = "import time\nend = time.time() + 0.6\nwhile time.time() < end: pass"


def spun(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_another_process_is_seen():
    share = others()
    subprocess.run([sys.executable, "-c", WORK], check=True)
    assert share() > 0.5 / (os.cpu_count() or 1)


def test_our_own_work_is_not_counted(monkeypatch):
    clock = iter([10.0, 11.0])
    monkeypatch.setattr(module, "_busy", lambda: next(clock))  # what we do and 0.6 s of others
    share = others()
    spun(0.4)
    wall = 0.4 * (os.cpu_count() or 1)
    assert share() <= 0.62 / wall


def test_where_nothing_is_told_nothing_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "_STAT", str(tmp_path / "none"))
    assert others()() is None


def test_a_contest_says_what_others_had():
    case = Case("case", {}, {"sleeps": lambda: Contender(lambda: time.sleep(0.01))})
    found = hold(case, turns=3, budget=0.1)
    assert 0 <= found.others <= 1
    assert benchmarks.document("x", [found], processor(), {})["cases"][0]["others_percent"] >= 0


def processor():
    from maquette.run.host import processor as host

    return host()
