"""``maquette compile``: a user's file in, what was made of it out."""

from __future__ import annotations

import pytest

from cli.calling import call, succeed

torch = pytest.importorskip("torch")

CODE = """
import torch
def attention(q, k, v):
    scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
    return scores.softmax(-1) @ v
def uneven(x):
    return x @ x
def misspelt(x):
    return x.sofmax(-1)
"""
SHAPES = "1x2x64x32,1x2x64x32,1x2x64x32"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(CODE)
    return path


def test_the_document_has_every_stage_and_bytes_before_and_after(file):
    document = succeed("compile", f"{file}:attention", "--shapes", SHAPES, "--json").document
    assert {"program", "derived", "fused", "tiled"} <= document["stages"].keys()
    assert "softmax" in document["stages"]["program"]
    moved = document["bytes_from"]
    operands = 4 * 4 * 2 * 64 * 32
    assert operands <= moved["after"]["memory"] < moved["before"]["memory"] / 2
    (kernel,) = document["kernels"]
    assert kernel["light_ms"] <= kernel["price_ms"] == document["price_ms"]
    assert any("derived" in line for line in document["derivations"])


def test_explained_stage_by_stage(file):
    shown = succeed("compile", f"{file}:attention", "--shapes", SHAPES, "--explain").out
    stages = [shown.index(f"\n{name}\n") if i else 0 for i, name in
              enumerate(("program", "derived", "fused", "tiled"))]  # fmt: skip
    assert stages == sorted(stages)
    assert "operator by operator" in shown


def test_source_is_all_there_is_to_compile(file):
    shown = succeed("compile", f"{file}:attention", "--shapes", SHAPES, "--source").out
    assert 'extern "C" void' in shown


def test_the_document_holds_the_source_where_it_is_asked_for(file):
    asked = ("compile", f"{file}:attention", "--shapes", SHAPES, "--json")
    plain, document = (succeed(*asked, *more).document for more in ((), ("--source",)))
    assert document.keys() - plain.keys() == {"source"}
    assert document["source"].strip() == succeed(*asked[:-1], "--source").out.strip()


def test_source_leaves_nothing_to_explain(file):
    done = call("compile", f"{file}:attention", "--shapes", SHAPES, "--source", "--explain")
    assert done.code == 2 and "--explain has no meaning with --source" in done.err


@pytest.mark.parametrize(
    ("name", "shapes", "words"),
    [
        ("attention", "1x2x64x32", ("--shapes", "1 are given for 3")),
        ("atention", SHAPES, ("did you mean attention",)),
        ("uneven", "2x3", ("mine.py:7", "sizes 3 and 2")),
        ("misspelt", "2x3", ("mine.py:9", "AttributeError", "sofmax")),
    ],
)
def test_what_is_wrong_is_said(file, name, shapes, words):
    done = call("compile", f"{file}:{name}", "--shapes", shapes)
    assert done.code == 2, done.err
    for word in words:
        assert word in done.err
