"""Compiling and loading: once, by content, safely, with errors that say what the compiler said."""

from __future__ import annotations

import ctypes
import errno
import shutil
import subprocess
import sys
import time

import pytest

from maquette.errors import InputError, NotYet
from maquette.run import build as building
from maquette.run import host, toolchain
from maquette.run.build import build, cache_folder, place
from maquette.run.source import Source

needs_compiler = pytest.mark.skipif(toolchain.toolchain() is None, reason="no C++ compiler")


def adder(n: int) -> Source:
    text = f'extern "C" void add{n}(void *const *b) {{ *(int *)b[0] += {n}; }}'
    return Source(f"add{n}", text)


def called(entry, value: int) -> int:
    held = ctypes.c_int(value)
    entry((ctypes.c_void_p * 1)(ctypes.addressof(held)))
    return held.value


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MAQUETTE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@needs_compiler
def test_builds_several_and_keeps_them(cache, monkeypatch):
    entries = build([adder(1), adder(2), adder(1)])
    assert [called(entries[f"add{n}"], 40) for n in (1, 2)] == [41, 42]
    assert len(list(cache.rglob("add*.so"))) == 2
    monkeypatch.setattr(toolchain.Toolchain, "compile", None)  # would fail if it were called
    assert called(build([adder(2)])["add2"], 0) == 2


@needs_compiler
def test_what_identifies_machine_code_is_in_its_name(cache):
    chain = toolchain.toolchain()
    other = toolchain.Toolchain(chain.command, chain.flags, chain.identity + "another processor")
    assert place(adder(1), chain) != place(adder(2), chain)
    assert place(adder(1), chain) != place(adder(1), other)
    assert host.model_name() in chain.identity or not host.model_name()


@needs_compiler
def test_half_a_library_is_made_anew(cache):
    path = place(adder(7), toolchain.toolchain())
    path.write_bytes(b"\x7fELF, and then the disk was full")
    assert called(build([adder(7)])["add7"], 1) == 8


@needs_compiler
def test_a_library_cut_anywhere_is_made_anew(cache):
    """Most prefixes of a library load, and end the process when they are called."""
    path = place(adder(8), toolchain.toolchain())
    build([adder(8)])
    whole = path.read_bytes()
    path.unlink()  # it is mapped
    building._loaded.pop(str(path))
    path.write_bytes(whole[: len(whole) // 3])
    assert called(build([adder(8)])["add8"], 1) == 9
    assert len(path.read_bytes()) == len(whole)


@needs_compiler
def test_processes_may_race(cache):
    code = (
        "from maquette.run.build import build; from maquette.run.source import Source;"
        "build([Source('one', 'extern \"C\" void one(void *const *) {}')])"
    )
    running = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [p.wait() for p in running] == [0, 0, 0]
    assert len(list(cache.rglob("one*.so"))) == 1
    assert not list(cache.rglob(".making-*"))


def compiler(tmp_path, text: str) -> str:
    script = tmp_path / "c++ of mine"
    script.write_text(f"#!/bin/sh\n{text}\n")
    script.chmod(0o755)
    return f"'{script}'"


def test_a_broken_compiler_is_quoted(tmp_path, monkeypatch, cache):
    script = compiler(
        tmp_path, 'case "$*" in *--version*) echo 1.0;; *) echo "no memory left" >&2; exit 3;; esac'
    )
    monkeypatch.setenv("CXX", script)
    with pytest.raises(InputError, match=r"(?s)status 3.*no memory left"):
        build([adder(1)])
    assert not [*cache.rglob("*.so"), *cache.rglob(".making-*")]


def test_a_compiler_that_cannot_start_is_quoted(tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", compiler(tmp_path, "echo 'library lost' >&2; exit 127"))
    with pytest.raises(InputError, match="library lost"):
        toolchain.toolchain()
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(InputError, match="no program 'no-such-compiler'"):
        toolchain.toolchain()


def test_a_compiler_that_says_nothing_and_one_that_cannot_be_read(tmp_path, monkeypatch, cache):
    monkeypatch.setenv("CXX", compiler(tmp_path, "exit 0"))
    with pytest.raises(InputError, match="succeeded and wrote nothing"):
        build([Source("f", "void f() {}")])
    monkeypatch.setenv("CXX", "'g++")
    with pytest.raises(InputError, match="No closing quotation"):
        toolchain.toolchain()


def test_a_compiler_that_hangs_is_ended_with_what_it_started(tmp_path, monkeypatch, cache):
    left = tmp_path / "left"
    script = compiler(
        tmp_path,
        f'case "$*" in *--version*) echo 1.0;; *kernel*) (sleep 2; touch {left}) & wait;; '
        "*) exit 1;; esac",
    )
    monkeypatch.setenv("CXX", script)
    monkeypatch.setattr(toolchain, "_PATIENCE", 0.5)
    with pytest.raises(InputError, match=r"no answer in 0.5 s"):
        build([adder(1)])
    assert not [*cache.rglob("*.so"), *cache.rglob(".making-*")]
    time.sleep(2)
    assert not left.exists()


@needs_compiler
def test_a_cache_may_be_deleted_at_any_time(cache):
    entry = build([adder(4)])["add4"]
    shutil.rmtree(cache)
    assert called(build([adder(5)])["add5"], 1) == 6
    assert called(build([adder(4)])["add4"], 1) == called(entry, 1) == 5


@needs_compiler
def test_a_full_cache_is_named(cache, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(building.os, "replace", full)
    with pytest.raises(InputError, match=r"(?s)No space left.*MAQUETTE_CACHE"):
        build([adder(5)])
    assert not [*cache.rglob("*.so"), *cache.rglob(".making-*")]


@needs_compiler
def test_vectors_are_as_wide_as_the_compiler_makes_them(monkeypatch, cache):
    (name, *given) = toolchain.toolchain().command
    if "avx512f" not in toolchain.toolchain().target or given:
        pytest.skip("a plain compiler for AVX-512")
    for flag, width in (("-mno-avx512f", (8, 16)), ("-mno-avx", (4, 16))):
        monkeypatch.setenv("CXX", f"{name} {flag}")
        assert (host.processor().lanes, host.processor().registers) == width


def test_no_compiler_at_all(monkeypatch):
    monkeypatch.setattr(building, "toolchain", lambda: None)
    with pytest.raises(NotYet, match=r"none found.*ziglang"):
        build([adder(1)])


@needs_compiler
def test_an_unwritable_cache_is_replaced_with_one_warning(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("MAQUETTE_CACHE", str(tmp_path / "file"))
    with pytest.warns(RuntimeWarning, match="not kept"):
        held = cache_folder()
    assert cache_folder() == held  # no second warning: warnings are errors under -W error
    assert called(build([adder(3)])["add3"], 0) == 3


def test_this_machine():
    found = host.processor()
    assert found.lanes in (4, 8, 16) and found.registers in (16, 32)
    assert 0 < found.l1 < found.l2 <= found.l3
    assert host.vector_width(frozenset({"avx2", "avx"})) == (8, 16)
    assert host.vector_width(frozenset({"asimd"})) == (4, 32)


def test_threads_are_those_that_are_wished_and_allowed(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert host.thread_count() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "1000,2")
    allowed = host.thread_count()
    monkeypatch.setenv("OMP_NUM_THREADS", "none")
    assert host.thread_count() == allowed >= 1
