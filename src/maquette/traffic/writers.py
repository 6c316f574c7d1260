"""Requests to a trace file that `read` reads back as they are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from maquette.errors import Fault, InputError
from maquette.traffic.types import Requests


def write(requests: Requests, path: str | Path) -> None:
    """Write the plain CSV, or Mooncake's JSONL if `path` ends in ``.jsonl``.

    Only JSONL holds block hashes.  Raises InputError for what the format cannot hold (a closed
    loop, hashes in a CSV) and for a path that cannot be written.
    """
    path = Path(path)
    if requests.concurrency:
        raise InputError(Fault(str(path), "a closed loop has no arrivals to write"))
    hashed = requests.block_hash is not None
    if path.suffix not in (".csv", ".jsonl") or (hashed and path.suffix == ".csv"):
        what = "cannot hold block hashes" if path.suffix == ".csv" else "has an unknown ending"
        raise InputError(Fault(str(path), what, ".jsonl" if hashed else ".csv or .jsonl"))
    lines = _csv(requests) if path.suffix == ".csv" else _jsonl(requests)
    try:
        with path.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(lines)
    except OSError as error:
        raise InputError(Fault(str(path), f"cannot be written: {error.strerror}")) from None


def _csv(requests: Requests) -> Iterator[str]:
    columns = [requests.input_tokens, requests.output_tokens]
    ranked = requests.priority is not None
    if requests.priority is not None:
        columns.append(requests.priority)
    yield "arrival_s,input_tokens,output_tokens" + (",priority\n" if ranked else "\n")
    values = [c.tolist() for c in columns]
    for ns, *rest in zip(requests.arrival_ns.tolist(), *values, strict=True):
        yield f"{ns // 10**9}.{ns % 10**9:09d},{','.join(map(str, rest))}\n"


def _jsonl(requests: Requests) -> Iterator[str]:
    for i in range(len(requests)):
        ns = int(requests.arrival_ns[i])
        record: dict[str, object] = {
            "timestamp": ns // 10**6 if ns % 10**6 == 0 else ns / 1e6,
            "input_length": int(requests.input_tokens[i]),
            "output_length": int(requests.output_tokens[i]),
        }
        if requests.block_hash is not None and requests.block_start is not None:
            a, b = requests.block_start[i : i + 2].tolist()
            record["hash_ids"] = requests.block_hash[a:b].tolist()
        if requests.priority is not None:
            record["priority"] = int(requests.priority[i])
        yield json.dumps(record) + "\n"
