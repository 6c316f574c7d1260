"""Drives vLLM's own scheduler of its second engine core (v1), without a model."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["VLLM_LOGGING_LEVEL"] = "ERROR"

import torch
import vllm
from validation.schedulers.scenarios import CONFIG, Scenario, cached, mixed, prioritised
from vllm.config import CacheConfig, ModelConfig, SchedulerConfig, VllmConfig
from vllm.sampling_params import SamplingParams
from vllm.utils.hashing import sha256
from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request
from vllm.v1.structured_output import StructuredOutputManager

ENGINE = "vLLM v1"
VERSION = vllm.__version__


def scenarios() -> list[Scenario]:
    """The common ones, then those of what only this scheduler has."""
    found = mixed(1) + cached(2) + prioritised(3)
    blocks = [s for s in found if "blocks" in s.name]
    for share in (0.05, 0.2):
        for one in (blocks[0], blocks[2], blocks[8]):
            named = f"watermark {share}, {one.name}"
            found.append(replace(one, name=named, options={"watermark": share}))
    for one in (blocks[1], blocks[3], blocks[7], blocks[9]):
        first = {"scheduler_reserve_full_isl": False}
        found.append(replace(one, name=f"first piece, {one.name}", budget=16, options=first))
    for one in mixed(4, chunked=False):
        found.append(replace(one, name=f"whole prompts, {one.name}", chunked=False))
    for one in [s for s in found if s.options.get("watermark") != 0.05]:
        ahead = {**one.options, "async_scheduling": True}
        found.append(replace(one, name=f"asynchronous, {one.name}", options=ahead))
    return found


def _scheduler(s: Scenario, folder: str) -> Scheduler:
    whole = 0 if s.chunked else s.budget  # the engine wants max_model_len within the budget then
    length = whole or 2048
    config = VllmConfig(
        model_config=ModelConfig(
            model=folder, skip_tokenizer_init=True, dtype="bfloat16", max_model_len=length
        ),
        scheduler_config=SchedulerConfig(
            max_num_seqs=s.seqs,
            max_num_batched_tokens=s.budget,
            max_model_len=length,
            is_encoder_decoder=False,
            enable_chunked_prefill=s.chunked,
            policy="priority" if s.priority else "fcfs",
            **{"async_scheduling": False, **s.options},
        ),
        cache_config=CacheConfig(block_size=s.block, enable_prefix_caching=s.caching),
    )
    config.cache_config.num_gpu_blocks = s.blocks + 1  # one is the null block
    spec = FullAttentionSpec(block_size=s.block, num_kv_heads=1, head_size=1, dtype=torch.float32)
    kind = AsyncScheduler if s.options.get("async_scheduling") else Scheduler
    return kind(
        vllm_config=config,
        kv_cache_config=KVCacheConfig(
            num_blocks=s.blocks + 1,
            kv_cache_tensors=[],
            kv_cache_groups=[KVCacheGroupSpec(["layer"], spec)],
        ),
        structured_output_manager=StructuredOutputManager(config),
        block_size=s.block,
    )


def record(s: Scenario) -> list[dict[str, Any]]:
    """The steps: when, tokens by request, who was preempted, blocks held."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(CONFIG)
        scheduler = _scheduler(s, folder)
    init_none_hash(sha256)
    hasher = get_request_block_hasher(s.block, sha256)
    coming = list(enumerate(s.asked))
    steps: list[dict[str, Any]] = []
    now, free = 0, 0  # what the engine sees, and when the device is done with what it has
    most = 2 if s.options.get("async_scheduling") else 1  # of the engine core's batch queue
    queue: list[tuple[int, Any, set[str]]] = []  # steps formed: their ends, and of whom not all
    while coming or scheduler.has_requests() or queue:
        if not scheduler.has_requests() and not queue:
            now = max(now, coming[0][1].arrival)
        while coming and coming[0][1].arrival <= now:
            number, one = coming.pop(0)
            wanted = SamplingParams(max_tokens=one.output, ignore_eos=True)
            request = Request(
                str(number),
                one.tokens(number),
                wanted,
                None,
                arrival_time=one.arrival + number / 1000,
                priority=one.priority,
                block_hasher=hasher if s.caching else None,
            )
            scheduler.add_request(request)
        if scheduler.has_requests():
            out, step = _formed(scheduler, s)
            start = max(now, free)
            steps.append({"at": start, **step})
            free = start + bool(step["tokens"])  # an empty step takes no time
            cut = {r for r in out.num_scheduled_tokens if scheduler.requests[r].is_prefill_chunk}
            queue.append((free, out, cut))
            if len(queue) < most:  # as EngineCore.step_with_batch_queue: it forms another at once
                continue
        end, out, cut = queue.pop(0)
        now = max(now, end)
        _answer(scheduler, out, cut)
    return steps


def _formed(scheduler: Scheduler, s: Scenario) -> tuple[Any, dict[str, Any]]:
    """A step as the scheduler forms it: tokens by request, who was preempted, blocks held."""
    before = {r.request_id: r.num_preemptions for r in scheduler.requests.values()}
    out = scheduler.schedule()
    lost = [
        int(r.request_id)
        for r in scheduler.requests.values()
        if r.num_preemptions > before[r.request_id]
    ]
    free = scheduler.kv_cache_manager.block_pool.get_num_free_blocks()
    tokens = {int(k): v for k, v in out.num_scheduled_tokens.items()}
    return out, {"tokens": tokens, "lost": lost, "used": s.blocks - free}


def _answer(scheduler: Scheduler, out: Any, cut: set[str]) -> None:
    """Feed back made-up tokens, one for each request whose prompt the step did not cut."""
    ids = list(out.num_scheduled_tokens)
    tokens = []
    for rid in ids:
        r = scheduler.requests.get(rid)  # None: it has ended since
        given = 2_000_000 + int(rid) * 1_000 + (r.num_output_tokens if r else 0)
        tokens.append([] if rid in cut else [given])
    answer = ModelRunnerOutput(
        req_ids=ids,
        req_id_to_index={rid: i for i, rid in enumerate(ids)},
        sampled_token_ids=tokens,
    )
    scheduler.update_from_output(out, answer)
