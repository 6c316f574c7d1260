"""Every example runs as it stands, from anywhere, within ten seconds of processor time."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from docs.blocks import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def test_examples_are_numbered():
    numbers = [p.name.split("_")[0] for p in EXAMPLES]
    assert numbers == [f"{i:02d}" for i in range(1, len(EXAMPLES) + 1)]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.name)
def test_example_runs(path: Path, tmp_path):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, str(path)], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip(), "an example shows something"
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert used < 10, f"{used:.1f} s of processor time"
