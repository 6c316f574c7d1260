"""Drives the scheduler of vLLM's first engine core (v0) from its sources, without a model.

``VLLM_SOURCES`` is a folder that holds the Python files of vLLM 0.6 (an unpacked wheel).  They
are read as they are; what the scheduler imports only for type annotations is left empty.
"""

from __future__ import annotations

import ast
import enum
import logging
import os
import sys
import time
import types
import typing
from dataclasses import replace
from pathlib import Path
from typing import Any

from validation.schedulers.scenarios import Scenario, cached, mixed

SOURCES = Path(os.environ["VLLM_SOURCES"])


def _import() -> tuple[Any, Any]:
    def module(name: str, **members: Any) -> None:
        sys.modules[name] = types.ModuleType(name)
        vars(sys.modules[name]).update(members)

    class Anything:
        """Stands for what is only named in annotations."""

    module("vllm", __path__=[str(SOURCES / "vllm")])
    module("vllm.config", CacheConfig=Anything, SchedulerConfig=Anything, LoRAConfig=Anything)
    module("vllm.inputs", SingletonInputs=Anything, SingletonInputsAdapter=_Prompt)
    module("vllm.lora.request", LoRARequest=Anything)
    module("vllm.lora", __path__=[])
    module("vllm.multimodal", MultiModalDataDict=Anything, MultiModalPlaceholderDict=Anything)
    module("vllm.pooling_params", PoolingParams=Anything)
    module("vllm.prompt_adapter", __path__=[])
    module("vllm.prompt_adapter.request", PromptAdapterRequest=Anything)
    module("vllm.sampling_params", SamplingParams=Anything, RequestOutputKind=Anything)
    module("vllm.logger", init_logger=logging.getLogger)
    unused = {f"STR_NOT_IMPL_ENC_DEC_{x}": "" for x in ("PREFIX_CACHE", "SWA", "SWAP")}
    module(
        "vllm.utils",
        **unused,
        **_part_of("utils.py", "Device", "PyObjectCache", "cdiv", "chunk_list"),
    )
    from vllm import sequence
    from vllm.core import scheduler

    return scheduler, sequence


def _part_of(file: str, *names: str) -> dict[str, Any]:
    """Definitions out of a file that imports more than is there."""
    tree = ast.parse((SOURCES / "vllm" / file).read_text())
    tree.body = [n for n in tree.body if getattr(n, "name", "") in names]
    members: dict[str, Any] = {"enum": enum, **vars(typing)}
    exec(compile(tree, file, "exec"), members)
    return {name: members[name] for name in names}


class _Prompt:
    """A prompt, as the engine's own adapter shows it."""

    def __init__(self, tokens: list[int]) -> None:
        self.prompt_token_ids = tokens

    def __getattr__(self, name: str) -> None:
        """No picture, sound or embedding comes with it."""


scheduling, sequences = _import()
ENGINE = "vLLM v0"
VERSION = (
    (SOURCES / "vllm" / "_version.py")
    .read_text()
    .split("__version__ = version = ")[1]
    .split("'")[1]
)


def scenarios() -> list[Scenario]:
    """Whole prompts first, which is its default; then with chunked prefill."""
    whole = mixed(11, chunked=False) + [
        replace(s, budget=75) for s in cached(12) if s.name.startswith("prefixes")
    ]
    found = [replace(s, chunked=False) for s in whole]
    found += [replace(s, name=f"chunked, {s.name}") for s in mixed(13)]
    rough = [s for s in found if s.name in ("blocks 1", "chunked, blocks 2")]
    for one in rough:  # one block in a hundred is kept free
        many = tuple(replace(a, prompt=a.prompt + 9) for a in one.asked) * 5
        more = replace(one, asked=tuple(sorted(many, key=lambda a: a.arrival)), seqs=24)
        found.append(replace(more, name=f"watermark, {one.name}", block=1, blocks=310))
    return found


def _scheduler(s: Scenario) -> Any:
    config = types.SimpleNamespace(
        max_num_batched_tokens=s.budget,
        max_num_seqs=s.seqs,
        max_model_len=1024 if s.chunked else s.budget,
        chunked_prefill_enabled=s.chunked,
        is_multi_step=False,
        num_scheduler_steps=1,
        num_lookahead_slots=0,
        delay_factor=0.0,
        preemption_mode=None,
        policy="fcfs",
        runner_type="generate",
        send_delta_data=False,
    )
    cache = types.SimpleNamespace(
        block_size=s.block,
        num_gpu_blocks=s.blocks,
        num_cpu_blocks=0,
        sliding_window=None,
        enable_prefix_caching=s.caching,
        is_attention_free=False,
    )
    return scheduling.Scheduler(config, cache, None)


def record(s: Scenario) -> list[dict[str, Any]]:
    """The steps: when, tokens by request, who was preempted, blocks held."""
    scheduler = _scheduler(s)
    coming = list(enumerate(s.asked))
    steps: list[dict[str, Any]] = []
    now = 0
    while coming or scheduler.has_unfinished_seqs():
        if not scheduler.has_unfinished_seqs():
            now = max(now, coming[0][1].arrival)
        while coming and coming[0][1].arrival <= now:
            number, one = coming.pop(0)
            seq = sequences.Sequence(number, one.tokens(number), s.block)
            wanted = types.SimpleNamespace(max_tokens=one.output, n=1, prompt_logprobs=None)
            scheduler.add_seq_group(
                sequences.SequenceGroup(str(number), [seq], time.time(), wanted)
            )
        running = {g.request_id for g in scheduler.running}
        _, out, _ = scheduler.schedule()
        ignored = [g.request_id for g in out.ignored_seq_groups]
        assert not ignored, (s.name, ignored)
        lost = [int(g.request_id) for g in scheduler.waiting if g.request_id in running]
        uncached = {g.seq_group.request_id: _fresh(scheduler, g) for g in out.scheduled_seq_groups}
        tokens = {int(r): n for r, n in uncached.items()}
        manager = scheduler.block_manager
        used = s.blocks - manager.get_num_free_gpu_blocks()
        steps.append({"at": now, "tokens": tokens, "lost": lost, "used": used})
        _answer(scheduler, out)
        now += bool(tokens)
    return steps


def _fresh(scheduler: Any, scheduled: Any) -> int:
    """Tokens of a step that its cached blocks do not spare, as the model runner computes them."""
    seq, chunk = scheduled.seq_group.first_seq, scheduled.token_chunk_size
    if not scheduler.cache_config.enable_prefix_caching or not seq.is_prefill():
        return int(chunk)
    cached = scheduler.block_manager.get_num_cached_tokens(seq)
    return int(chunk - max(0, min(cached - seq.data.get_num_computed_tokens(), chunk - 1)))


def _answer(scheduler: Any, out: Any) -> None:
    """What the engine does when a step ends: computed tokens, one new token each, the finished."""
    for scheduled in out.scheduled_seq_groups:
        group, seq = scheduled.seq_group, scheduled.seq_group.first_seq
        group.update_num_computed_tokens(scheduled.token_chunk_size)
        if seq.is_prefill() and seq.data.get_num_uncomputed_tokens():
            continue
        token = 2_000_000 + seq.seq_id * 1_000 + seq.get_output_len()
        seq.append_token_id(token, {token: types.SimpleNamespace(logprob=0.0)})
        if seq.get_output_len() == group.sampling_params.max_tokens:
            seq.status = sequences.SequenceStatus.FINISHED_LENGTH_CAPPED
            scheduler.free_seq(seq)
    scheduler.free_finished_seq_groups()
