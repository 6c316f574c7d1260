"""An engine that is up already, somewhere: only its runs are made here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from maquette.catalogue import engines, machines, models
from maquette.errors import together
from maquette.measure.campaign import Keep, Progress, campaign, deployment, same
from maquette.measure.client import Server, available


def run(
    place: Path, runs: Path, model: str, seconds: float, progress: Progress, keep: Keep,
    there: Mapping[str, Any],
) -> None:  # fmt: skip
    """Measure the engine at ``there["url"]``; what serves there is said by the other keys.

    Raises:
        InputError, UnknownName: what is said names nothing, or the folder is of something else;
            all faults at once.
    """
    available()
    config, engine, _ = together(
        lambda: models.model(model),
        lambda: engines.engine(there["engine"] or engines.DEFAULT),
        lambda: machines.system(there["on"]),
    )
    policy = {k: there[k] for k in ("max_seqs", "max_batched_tokens")}
    said = {
        "model": _placed(model), "on": _placed(there["on"]), "engine": engine.name,
        "version": _version(there["url"]), "tp": there["tp"] or 1, **policy,
    }  # fmt: skip
    launch = place / "launch.json"
    agreed = partial(same, launch, {"url": there["url"], "seconds": seconds, **said},
                     partial(keep, "../launch.json"))  # fmt: skip

    def answered() -> None:  # an address where nobody is may be mended, and tried again
        agreed()
        keep("deployment.toml", deployment(said))

    if launch.exists():
        agreed()
    server = Server(there["url"].rstrip("/"), there["served_name"] or model, config.vocab)
    # No engine is kept busier by more clients than it runs sequences; 64 fill most of them.
    clients = min(there["max_seqs"] or engine.policy.max_seqs, 64)
    campaign(server, clients, seconds, runs, keep, date.today().isoformat(), progress, answered)


def _placed(name: str) -> str:
    """A path as it reads from anywhere; a name as it is."""
    return str(Path(name).resolve()) if Path(name).exists() else name


def _version(url: str) -> str | None:
    """What an engine says its version is, where it does."""
    try:
        with urlopen(f"{url.rstrip('/')}/version", timeout=5) as reply:
            return str(json.loads(reply.read())["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
