"""Table V of the SN40L paper from prices alone: nothing is fitted to it.

`serve.composition.closed.table5` takes from the paper how much slower an expert runs on a DGX;
here router and experts are priced on each machine as anything else is.  The paper does not say how
long its prompts are; `PROMPT` is assumed.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from maquette.catalogue import machines
from maquette.catalogue.fleet_file import Where
from maquette.catalogue.fleets import fleet
from maquette.errors import InputError
from maquette.plans.types import Infeasible
from maquette.search.hosting import Models
from maquette.serve.composition import published
from maquette.serve.composition.closed import Row
from maquette.serve.composition.timing import Timing

PROMPT = 1024  # tokens; assumed
MODEL = "llama-2-7b"
NODE = "sn40l-node"
SYSTEMS = {NODE: "sn40l-node", "DGX A100": "a100x8", "DGX H100": "h100x8"}


def priced_table5(host_links: int = 1, prompt: int = PROMPT) -> tuple[Row, ...]:
    """The eight overall speedups, from priced runs and copies at the published bandwidths.

    >>> max(abs(r.error) for r in priced_table5()) < 0.50
    True
    """
    return tuple(
        Row(
            baseline=r.baseline,
            batch=r.batch,
            output_tokens=r.output_tokens,
            published=r.published,
            computed=_seconds(r.baseline, r.batch, r.output_tokens, host_links, prompt)
            / _seconds(NODE, r.batch, r.output_tokens, host_links, prompt),
            host_links=host_links,
        )
        for r in published.OVERALL
    )


def priced_experts(prompt: int = PROMPT) -> Mapping[tuple[str, int], float]:
    """How much slower an expert alone runs on a DGX, by machine and output tokens.

    Beside `published.EXPERT`.
    """
    return {
        (name, n): _run(name, 1, prompt, n) / _run(NODE, 1, prompt, n)
        for name, n in published.EXPERT
    }


def _seconds(name: str, batch: int, tokens: int, host_links: int, prompt: int) -> float:
    """A batch without hits: the router's run, then a copy and a run for each prompt."""
    link = published.HOST_LINK.get(name)
    rate = published.NODE_COPY if link is None else link * host_links
    copy = _models().stored(MODEL, _where(name), machines.system(SYSTEMS[name]))[0] / rate
    router = _run(name, batch, prompt, published.ROUTER_TOKENS)
    return router + batch * (copy + _run(name, 1, prompt, tokens))


def _run(name: str, batch: int, prompt: int, tokens: int) -> float:
    return _timing(name).run((prompt,) * batch, (tokens,) * batch).total_ns * 1e-9


@cache
def _models() -> Models:
    return Models(fleet("samba-coe"), ())


def _where(name: str) -> Where:
    return Where(SYSTEMS[name])


@cache
def _timing(name: str) -> Timing:
    """Llama-2-7B over all eight devices of a machine."""
    system = machines.system(SYSTEMS[name])
    found = _models().timing(MODEL, _where(name), system, system.devices)
    if isinstance(found, Infeasible):
        raise InputError(f"{MODEL} on {system.name}: {found}")
    return found
