"""An engine that is up already, somewhere: only its runs are made here."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from maquette.catalogue import engines, machines, models
from maquette.errors import together
from maquette.measure.campaign import Keep, Progress, campaign, deployment
from maquette.measure.client import Server, available


def run(
    runs: Path, model: str, seconds: float, progress: Progress, keep: Keep,
    there: Mapping[str, Any],
) -> None:  # fmt: skip
    """Measure the engine at ``there["url"]``; what serves there is said by the other keys.

    Raises:
        InputError, UnknownName: what is said names nothing; all faults at once.
    """
    available()
    config, engine, _ = together(
        lambda: models.model(model),
        lambda: engines.engine(there["engine"] or engines.DEFAULT),
        lambda: machines.system(there["on"]),
    )
    said = {"model": model, "on": there["on"], "engine": engine.name, "tp": there["tp"] or 1}
    keep("deployment.toml", deployment(said))
    server = Server(there["url"].rstrip("/"), there["served_name"] or model, config.vocab)
    # No engine is kept busier by more clients than it runs sequences; 64 fill most of them.
    clients = min(engine.policy.max_seqs, 64)
    campaign(server, clients, seconds, runs, keep, date.today().isoformat(), progress)
