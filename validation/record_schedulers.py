"""Step traces of real schedulers: ``python validation/record_schedulers.py ENGINE``.

Needs the engine itself, importable, so it is not run in CI: `vllm_v1` any vLLM of the second core
(its packages for CPU will do), `vllm_v0` the sources of vLLM 0.6, `sglang` those of SGLang.
Writes tests/serve/traces/ENGINE.json, which `tests/serve/test_engines.py` replays.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TRACES = ROOT / "tests" / "serve" / "traces"


def line(step: dict[str, Any]) -> str:
    """One step: ``time | request:tokens ... | preempted ... | blocks held``; 1 token is left out.

    >>> line({"at": 3, "tokens": {0: 1, 2: 17}, "lost": [1], "used": 12})
    '3|0 2:17|1|12'
    """
    tokens = " ".join(f"{r}:{n}" if n != 1 else str(r) for r, n in step["tokens"].items())
    return f"{step['at']}|{tokens}|{' '.join(map(str, step['lost']))}|{step['used']}"


def main(name: str) -> None:
    engine = importlib.import_module(f"validation.schedulers.{name}")
    rows = [{**s.row(), "steps": [line(x) for x in engine.record(s)]} for s in engine.scenarios()]
    head = f'{{"engine": "{engine.ENGINE}", "version": "{engine.VERSION}",\n"scenarios": [\n'
    body = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    TRACES.mkdir(exist_ok=True)
    (TRACES / f"{name}.json").write_text(f"{head}{body}\n]}}\n")
    steps = sum(len(row["steps"]) for row in rows)
    print(f"{engine.ENGINE} {engine.VERSION}: {len(rows)} scenarios, {steps} steps")


if __name__ == "__main__":
    sys.path[0] = str(ROOT)  # and not its folder, whose names engines have too
    main(sys.argv[1])
