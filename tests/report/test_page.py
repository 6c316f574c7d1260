"""The page: one file, nothing from elsewhere, valid enough for a strict parser, text in figures."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

import maquette as mq
from maquette import api
from maquette.report.page import answer_page, simulation_page

VOID = {"meta", "link", "br", "img", "hr", "input"}


@pytest.fixture(scope="module")
def traffic():
    return mq.requests(input_tokens=500, output_tokens=50, rate=8, requests=120)


@pytest.fixture(scope="module")
def answer(traffic):
    return mq.plan("llama-3.1-8b", on="h100x2", traffic=traffic, ttft=0.5, tpot=0.03)


@pytest.fixture(scope="module")
def page(answer):
    return answer_page(answer, api.winner(answer))


class Brackets(HTMLParser):
    """Every element that is opened is closed, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.ids += [v for k, v in attrs if k == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.ids += [v for k, v in attrs if k == "id"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_elements_nest_and_ids_are_unique(page):
    parser = Brackets()
    parser.feed(page)
    assert not parser.open
    assert len(parser.ids) == len(set(parser.ids))


def test_nothing_comes_from_elsewhere(page):
    for address in re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"')\s>]+)""", page):
        assert address.startswith("#"), address
    assert "<script" not in page and "@import" not in page
    assert set(re.findall(r"https?://[^\s\"'<)]+", page)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }


def test_figures_are_well_formed_and_described(page):
    found = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    assert len(found) == 5  # frontier, distributions, timeline, bounds, gains
    for text in found:
        figure = ElementTree.fromstring(text)
        space = "{http://www.w3.org/2000/svg}"
        title, description = figure.find(f"{space}title"), figure.find(f"{space}desc")
        assert title.text and description.text
        assert figure.get("aria-labelledby").split() == [title.get("id"), description.get("id")]


def test_figures_take_their_colours_from_the_page(page):
    """No stand-in colour is left, nor any other: light and dark come from the style sheet."""
    for text in re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL):
        assert not re.findall(r"(?:fill|stroke): ?#[0-9a-fA-F]{3,6}", text)


def test_everything_asked_for_is_there(page, answer):
    for words in ("The winner", "Interactivity against cost", "Time to first token", "KV cache",
                  "Where a step's time goes".replace("'", "&#39;"), "+10 % memory bandwidth",
                  "vllm serve", "Provenance", "prices of 2026-05"):  # fmt: skip
        assert words in page, words
    for outcome in answer.outcomes:
        assert str(outcome.plan.mesh) in page


def test_text_of_others_is_escaped(traffic):
    from dataclasses import replace

    named = replace(traffic, source="<script>alert(1)</script>")
    found = mq.simulate("llama-3.1-8b", on="h100", traffic=named, draws=0)
    page = simulation_page(found)
    assert "<script>" not in page and "&lt;script&gt;" in page


def test_pages_are_the_same_bytes_again(answer, page):
    assert answer_page(answer, api.winner(answer)) == page


def test_a_page_without_a_winner(traffic):
    none = mq.plan("llama-3.1-8b", on="h100x2", traffic=traffic, ttft=1e-4)
    assert none.winner is None
    page = answer_page(none, api.winner(none))
    assert "No plan" in page or "TTFT" in page


def test_a_page_of_requests_without_second_tokens():
    one = mq.requests(input_tokens=300, output_tokens=1, lengths="fixed", rate=3, requests=20)
    found = mq.simulate("llama-3.1-8b", on="h100", traffic=one, draws=0)
    assert "Time per output token" in simulation_page(found)
