"""``maquette calibrate --machine this``: what it writes, and what it refuses."""

from __future__ import annotations

import os

import pytest

from cli.calling import call, succeed
from maquette.catalogue.machines import machine
from maquette.run import measured, toolchain
from maquette.run.ceilings import measure

# Two teams of threads on the same cores wait for each other: `make test` runs these by themselves.
ALONE = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")) == 1


@pytest.mark.skipif(not ALONE, reason="measured alone, after the other tests")
@pytest.mark.skipif(toolchain.toolchain() is None, reason="no C++ compiler")
def test_this_machine_becomes_a_file_that_show_reads(tmp_path, monkeypatch):
    monkeypatch.setenv("MAQUETTE_CACHE", str(tmp_path))
    monkeypatch.setattr("maquette.run.ceilings._ENOUGH", 1)
    monkeypatch.setitem(measure.__kwdefaults__, "seconds", 1.0)
    monkeypatch.setattr("maquette.run.ceilings.disturbed", lambda found: False)
    path = tmp_path / "mine.toml"
    document = succeed("calibrate", "--machine", "this", "--out", path, "--json").document
    found = {(c["name"], c["threads"]): c for c in document["ceilings"]}
    fma = found["fma", document["threads"]]["median_flop_per_s"]
    assert machine(str(path)).compute.matrix["f32"].value >= 0.999 * fma
    assert measured.processor().fma == fma
    shown = succeed("show", "machine", path)
    assert "measured" in shown.out
    assert "launch" in shown.out


@pytest.mark.skipif(not ALONE, reason="measured alone, after the other tests")
@pytest.mark.skipif(toolchain.toolchain() is None, reason="no C++ compiler")
def test_ceilings_of_a_busy_machine_are_not_used(tmp_path, monkeypatch):
    monkeypatch.setenv("MAQUETTE_CACHE", str(tmp_path))
    monkeypatch.setattr("maquette.run.ceilings._ENOUGH", 1)
    monkeypatch.setitem(measure.__kwdefaults__, "seconds", 1.0)
    monkeypatch.setattr("maquette.run.ceilings.disturbed", lambda found: True)
    done = succeed("calibrate", "--machine", "this", "--out", tmp_path / "mine.toml", "--json")
    assert "too low" in done.err
    assert done.document["kept"] is None
    assert measured.kept() == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ("--rows or --machine", "missing")),
        (("--rows", "x", "--machine", "this"), ("both",)),
        (("--machine", "h100"), ("h100", "expected this")),
        (("--machine", "this", "--update"), ("--update", "no meaning")),
    ],
)
def test_one_thing_at_a_time(arguments, words, tmp_path):
    done = call("calibrate", *arguments, "--out", tmp_path / "x.toml")
    assert done.code == 2
    assert all(w in done.err for w in words)
    assert not (tmp_path / "x.toml").exists()
