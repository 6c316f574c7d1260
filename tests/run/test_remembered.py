"""What passes made is found again by what decides it, whatever the disk has done to it."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import maquette as mq
from compiler.fuse.programs import given, graph, weight
from maquette.compiler.pipeline import Passes
from maquette.ir.build import dot
from maquette.ir.graph import Graph
from maquette.run import cache as files
from maquette.run import library, remembered, version
from maquette.run.cache import keep, kept
from maquette.run.specialise import passes


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A cache of its own, and a source that stays as it is while others edit it."""
    monkeypatch.setenv("MAQUETTE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remembered, "version", lambda: "one")
    return tmp_path / "cache"


@pytest.fixture
def program():
    return graph("softmax")


@pytest.fixture
def idle(monkeypatch):
    """Call it, and passes do nothing any more."""

    def fail(*_, **__):
        raise AssertionError("passes ran")

    return lambda: monkeypatch.setattr(Passes, "lower", fail)


def entries(folder):
    return sorted(folder.rglob("lowered-*.json"))


def lowered(program):
    return remembered.lowered(passes(), program, {}, ())


def test_the_second_time_no_pass_runs(program, folder, idle):
    first = lowered(program)
    (entry,) = entries(folder)
    assert stat.S_IMODE(entry.stat().st_mode) & 0o077 == 0
    idle()
    second = lowered(program)
    assert second.flow == first.flow and second.tiled == first.tiled
    assert second.stages() == first.stages()


def test_whole_calls_come_from_what_is_kept(idle, folder):
    def normed(x, w):
        return (x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6)) @ w

    rng = np.random.default_rng(0)
    x, w = (rng.normal(size=s).astype(np.float32) for s in ((33, 48), (48, 20)))
    first = mq.compile(normed)
    expected = first(x, w)
    idle()
    again = mq.compile(normed)
    np.testing.assert_array_equal(again(x, w), expected)
    np.testing.assert_allclose(again(x, w), normed(x, w), rtol=1e-4, atol=1e-5)
    assert again.report == first.report and again.schedule == first.schedule
    with pytest.raises(AssertionError, match="passes ran"):
        again(x[:5], w)


def test_whatever_decides_it_is_in_its_name(monkeypatch, program):
    usual = passes()
    axes = next(iter(program.inputs.values())).axes
    strides = {"x": (1, int(axes[0].size.constant))}
    slower = replace(usual.processor, fma=usual.processor.fma * 0.99)
    named = [
        remembered.place(usual, program, {}, ()),
        remembered.place(usual, program, strides, ()),
        remembered.place(usual, program, {}, {"x"}),
        remembered.place(replace(usual, processor=slower), program, {}, ()),
        remembered.place(replace(usual, tries=0), program, {}, ()),
        remembered.place(replace(usual, value_price=None), program, {}, ()),
        remembered.place(replace(usual, strategies=usual.strategies[1:]), program, {}, ()),
        remembered.place(usual, graph("causal"), {}, ()),
        remembered.place(usual, Graph("other", program.outputs), {}, ()),
    ]
    had = library.sgemm()
    monkeypatch.setattr(library, "sgemm", lambda: 0 if had else 1)
    named.append(remembered.place(usual, program, {}, ()))
    monkeypatch.setattr(remembered, "version", lambda: "two")
    named.append(remembered.place(usual, program, {}, ()))
    assert len(set(named)) == len(named)
    assert remembered.place(usual, graph("softmax"), {}, ()) == named[-1]


@pytest.mark.parametrize("damage", [
    lambda content: b"", lambda content: content[:-1], lambda content: content[:40],
    lambda content: content.replace(b"kernel", b"kernal"), lambda content: b"\xff" + content,
])  # fmt: skip
def test_what_is_damaged_is_made_anew(program, folder, damage):
    first = lowered(program)
    (entry,) = entries(folder)
    whole = entry.read_bytes()
    entry.write_bytes(damage(whole))
    assert lowered(program).flow == first.flow
    assert entry.read_bytes() == whole


def test_a_whole_file_of_another_kind_is_made_anew(program, folder):
    first = lowered(program)
    (entry,) = entries(folder)
    for text in ("{}", "[]", "null", '{"forms": [["kernel", null]]}', "not JSON"):
        keep(entry.name, text)
        assert lowered(program).flow == first.flow
        assert kept(entry.name) != text


def test_a_full_disk_loses_nothing_and_leaves_nothing(program, folder, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "replace", full)
    assert lowered(program).flow.kernels
    assert not [p for p in folder.rglob("*") if p.name.startswith((".making-", "lowered-"))]


def test_a_source_that_changed_since_it_was_loaded_keeps_nothing(program, folder, monkeypatch):
    lowered(program)
    (entry,) = entries(folder)
    entry.unlink()
    monkeypatch.setattr(remembered, "version", lambda: "")
    assert lowered(program).flow.kernels
    assert not entries(folder)


def test_a_version_is_the_content_of_every_module(tmp_path, monkeypatch):
    def of(package):
        monkeypatch.setattr(version, "_PACKAGE", package)
        monkeypatch.setattr(version, "_LOADED", version._written())
        version._digest.cache_clear()
        return version.version()

    module = tmp_path / "a" / "passes" / "one.py"
    module.parent.mkdir(parents=True)
    module.write_text("x = 1\n")
    first = of(tmp_path / "a")
    assert first and of(tmp_path / "a") == first
    before = module.stat()
    module.write_text("x = 2\n")  # as long, and as old
    os.utime(module, ns=(before.st_atime_ns, before.st_mtime_ns))
    second = of(tmp_path / "a")
    assert second not in ("", first)
    module.write_text("x = 3\n")  # while the process has the one before
    os.utime(module, ns=(0, before.st_mtime_ns + 1))
    assert version.version() == ""
    module.write_text("x = 2\n")
    module.rename(module.with_name("two.py"))
    assert of(tmp_path / "a") not in ("", second)
    assert of(tmp_path / "nothing") == ""
    version._digest.cache_clear()


PROCESS = """
import sys
import numpy as np
import maquette as mq
from maquette.compiler.pipeline import Passes
from maquette.run import remembered

remembered.version = lambda: "one"
if sys.argv[1] == "second":
    Passes.lower = None
x = np.arange(35, dtype=np.float32).reshape(5, 7) / 35
print(mq.compile(lambda x: np.exp(x - x.max(-1, keepdims=True)).sum(-1))(x).tolist())
"""


def test_another_process_finds_it():
    run = [subprocess.run([sys.executable, "-c", PROCESS, turn], capture_output=True, text=True)
           for turn in ("first", "second")]  # fmt: skip
    assert [r.returncode for r in run] == [0, 0], run[1].stderr
    assert run[0].stdout == run[1].stdout


def test_constants_are_those_of_the_call(folder, idle):
    """What is kept knows weights by name alone: other values are not mistaken for them."""
    x, w = given("x", n=4, d=8), weight("w", d=8, e=8)
    of = Graph("linear", {"out": dot(x, w, "d").value})
    remembered.lowered(passes(), of, {}, {"w"})
    idle()
    found = remembered.lowered(passes(), of, {}, {"w"})
    assert {t.name for t in found.flow.inputs} == {"x", "w"}
