"""Results show themselves in a notebook and in a terminal."""

from __future__ import annotations

import pytest

import maquette as mq


def things():
    stream = mq.requests(input_tokens=300, output_tokens=20, rate=5, requests=30)
    return {
        "of finished requests": mq.simulate("llama-3.1-8b", on="h100", traffic=stream, draws=0),
        "The winner": mq.plan("llama-3.1-8b", on="h100", traffic=stream),
        "A decode step of 8": mq.explain("llama-3.1-8b", on="h100", batch=8),
        "3.35 TB/s": mq.machine("h100"),
        "70,553,706,496": mq.model("llama-3.1-70b"),
        "reserve 300 MB per device": mq.engine("vllm"),
    }


@pytest.fixture(scope="module")
def shown():
    return things()


def test_html(shown):
    for words, thing in shown.items():
        html = thing._repr_html_()
        assert html.startswith("<pre") and words in html


def test_printed(shown, capsys):
    for words, thing in shown.items():
        mq.show(thing)
        assert words in capsys.readouterr().out


def test_anything_else_prints_as_it_is(capsys):
    mq.show(mq.Mesh(tp=2))
    assert "Mesh(tp=2" in capsys.readouterr().out
