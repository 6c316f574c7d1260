"""Drives SGLang's own scheduler, radix cache and allocator, without a model.

``SGLANG_SOURCES`` is a folder with the files of SGLang (an unpacked wheel).  Batches are formed by
the methods of its `Scheduler`, unbound: what stands for the scheduler here holds their state, and
answers for the model as the engine's result processor does.  Steps are taken one after the other
(``--disable-overlap-schedule``), or each is formed while the one before runs, the default.  Lengths
are fixed (``ignore_eos``), as benchmarks ask, or unknown up to a limit.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import logging
import os
import random
import sys
import tempfile
import types
from array import array
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

from validation.schedulers.scenarios import CONFIG, Asked, Scenario, cached, mixed

SOURCES = Path(os.environ["SGLANG_SOURCES"])


class Nothing(type):
    """A class of which every attribute is another one."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Nothing(name, (), {})


class Absent(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Stands for packages that images and other weight formats need."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name.split(".")[0] in ("torchvision", "gguf"):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: Any) -> types.ModuleType:
        module = types.ModuleType(spec.name)
        module.__getattr__ = lambda name: getattr(Nothing("any", (), {}), name)  # type: ignore[method-assign]
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        """There is nothing to run."""


sys.path.insert(0, str(SOURCES))
from transformers import AutoProcessor  # noqa: E402, F401  (before torchvision seems to be there)

sys.meta_path.insert(0, Absent())
import torch  # noqa: E402
from sglang.srt.managers.schedule_batch import FINISH_LENGTH, Req, ScheduleBatch  # noqa: E402
from sglang.srt.managers.schedule_policy import PrefillAdder, SchedulePolicy  # noqa: E402
from sglang.srt.managers.scheduler import NextBatchPlan, Scheduler  # noqa: E402
from sglang.srt.managers.scheduler_components.new_token_ratio_tracker import (  # noqa: E402
    NewTokenRatioTracker,
)
from sglang.srt.mem_cache.allocator.token import TokenToKVPoolAllocator  # noqa: E402
from sglang.srt.mem_cache.cache_init_params import CacheInitParams  # noqa: E402
from sglang.srt.mem_cache.common import checkpoint_kv_cache, release_kv_cache  # noqa: E402
from sglang.srt.mem_cache.memory_pool import ReqToTokenPool  # noqa: E402
from sglang.srt.mem_cache.radix_cache import RadixCache  # noqa: E402
from sglang.srt.runtime_context import publish  # noqa: E402
from sglang.srt.sampling.sampling_params import SamplingParams  # noqa: E402
from sglang.srt.server_args import ServerArgs  # noqa: E402
from sglang.srt.speculative.spec_info import SpeculativeAlgorithm  # noqa: E402

logging.disable(logging.WARNING)
ENGINE = "SGLang"
VERSION = next(SOURCES.glob("sglang-*.dist-info")).name.split("-")[1].removesuffix(".dist")
Space = types.SimpleNamespace
LIMIT = 48  # tokens that requests of unknown length may generate


def scenarios() -> list[Scenario]:
    """The common ones, at a page of one token, its default."""
    found = [*mixed(21), *cached(22)]
    found = [replace(s, block=1, blocks=s.blocks * s.block) for s in found]
    for one in found[:]:
        found.append(replace(one, name=f"overlapped, {one.name}", options={"overlap": True}))
        if "blocks" in one.name:
            unknown = {"limit": LIMIT}
            found.append(replace(one, name=f"unknown lengths, {one.name}", options=unknown))
    return found + [crowded(nth) for nth in range(6)]


def crowded(nth: int) -> Scenario:
    """Requests that use up nearly all of what they may, so that the estimate is too low."""
    rng = random.Random(900 + nth)
    asked = [
        Asked(rng.randint(0, 4) if nth % 3 == 0 else 0, rng.randint(2, 9), rng.randint(55, 60))
        for _ in range(14)
    ]
    return Scenario(
        f"unknown lengths, retracted {nth}",
        tuple(sorted(asked, key=lambda a: a.arrival)),
        seqs=14,
        block=1,
        blocks=rng.choice((260, 330, 420)),
        caching=nth % 2 == 0,
        options={"limit": 60},
    )


def publish_settings() -> None:
    """The process-wide settings that the scheduler's methods read."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(CONFIG)
        settings = ServerArgs(
            model_path=folder,
            device="cpu",
            skip_tokenizer_init=True,
            pp_max_micro_batch_size=1000,
            disable_overlap_schedule=True,
            attention_backend="torch_native",
            sampling_backend="pytorch",
        )
        publish(settings, role="scheduler")


class Driven:
    """The state of a scheduler, and those of its methods that form batches."""

    get_next_batch_to_run = Scheduler.get_next_batch_to_run
    _get_new_batch_prefill_raw = Scheduler._get_new_batch_prefill_raw
    update_running_batch = Scheduler.update_running_batch
    get_num_allocatable_reqs = Scheduler.get_num_allocatable_reqs
    _reqs_finishing_inflight = Scheduler._reqs_finishing_inflight
    disaggregation_mode = None

    def __init__(self, s: Scenario) -> None:
        self.req_to_token_pool = ReqToTokenPool(s.seqs, 2048, "cpu", False)
        cache = Space(maybe_get_custom_mem_pool=lambda: None)
        self.token_to_kv_pool_allocator = TokenToKVPoolAllocator(
            s.blocks, torch.bfloat16, "cpu", cache, False
        )
        self.tree_cache = RadixCache(
            CacheInitParams(
                disable=not s.caching,
                req_to_token_pool=self.req_to_token_pool,
                token_to_kv_pool_allocator=self.token_to_kv_pool_allocator,
                page_size=1,
            )
        )
        self.policy = SchedulePolicy("fcfs", self.tree_cache, False, False, False)
        self.new_token_ratio_tracker = NewTokenRatioTracker.from_config()
        self.page_size, self.max_prefill_tokens, self.max_prefill_bs = 1, 16384, 0
        self.chunked_prefill_size, self.max_running_requests = s.budget, s.seqs
        self.priority_scheduling_preemption_threshold = self.forward_ct = 0
        self.waiting_queue: list[Req] = []
        self.chunked_req: Req | None = None
        self.lost: list[int] = []
        self.enable_skip_finishing_decode = bool(s.options.get("overlap"))
        self.result_queue: deque[tuple[ScheduleBatch, int]] = deque()  # and when each ends
        # Parts that have nothing to do here.
        idle = Space(attn_backend=Space(), prefill_aware_swa=False)
        self.tp_worker = Space(model_runner=idle)
        self.model_config = Space(is_encoder_decoder=False, vocab_size=8192)
        self.spec_algorithm = SpeculativeAlgorithm.NONE
        self.grammar_manager = Space(has_waiting_grammars=lambda: False)
        self.beam_coordinator = Space(pending_member_rows=lambda batch: 0)
        self.metrics_reporter = Space(enable_metrics=False)
        self.load_inquirer = Space(_get_num_pending_tokens=lambda **given: 0)
        self.dp_attn_adapter = Space(
            maybe_prepare_mlp_sync_batch=lambda batch, **given: batch,
            maybe_convert_decode_to_extend=lambda batch: batch,
        )
        self.ngram_embedding_manager = Space(prepare_for_forward=lambda batch, **given: batch)

    def __getattr__(self, name: str) -> Any:
        """What is switched on, or there at all, is set above."""
        return None

    def process_pending_chunked_abort(self) -> None: ...
    def _process_hicache_events(self) -> None: ...
    def _arm_prefill_decode_interval(self, batch: Any) -> None: ...

    def _should_defer_prefill(self, batch: Any) -> bool:
        return False

    def get_prefill_adder_class(self) -> type:
        return PrefillAdder

    def stash_chunked_request(self, req: Req) -> None:
        checkpoint_kv_cache(req, self.tree_cache)

    def get_new_batch_prefill(self, running: Any) -> Any:
        batch, running = self._get_new_batch_prefill_raw(None, running)
        return NextBatchPlan(batch_to_run=batch, running_batch=running)

    def _add_request_to_queue(self, req: Req, is_retracted: bool = False) -> None:
        self.waiting_queue.append(req)
        if is_retracted:
            self.lost.append(int(req.rid))

    def held(self) -> int:
        """Slots that neither lie free nor can be evicted."""
        allocator, tree = self.token_to_kv_pool_allocator, self.tree_cache
        return int(allocator.size - allocator.available_size() - tree.evictable_size())


def record(s: Scenario) -> list[dict[str, Any]]:
    """The steps: when, tokens by request, who was retracted, slots held.

    The loops are `Scheduler.event_loop_normal`'s and `event_loop_overlap`'s.
    """
    publish_settings()
    driven = Driven(s)
    coming = list(enumerate(s.asked))
    steps: list[dict[str, Any]] = []
    live, now, free = 0, 0, 0  # requests; what the engine sees; when the device is done
    running, last = ScheduleBatch(reqs=[]), None
    while coming or live:
        if not live:
            now = max(now, coming[0][1].arrival)
        while coming and coming[0][1].arrival <= now:
            _ask(driven, *coming.pop(0), s)
            live += 1
        driven.lost = []
        plan = driven.get_next_batch_to_run(running, last)
        running, batch = plan.running_batch, plan.batch_to_run
        if batch is not None:
            extend = batch.forward_mode.is_extend()
            counts = {int(r.rid): r.extend_len if extend else 1 for r in batch.reqs}
            start = max(now, free)
            free = start + 1
            steps.append(
                {"at": start, "tokens": counts, "lost": driven.lost, "used": driven.held()}
            )
            driven.result_queue.append((batch.copy(), free))
        behind = driven.enable_skip_finishing_decode
        while len(driven.result_queue) > (behind and batch is not None):
            done, now = driven.result_queue.popleft()
            live -= _answer(driven, done, done.forward_mode.is_extend())
        last = batch
    return steps


def _ask(driven: Driven, number: int, one: Asked, s: Scenario) -> None:
    """A request arrives; with a limit it ends when it pleases, before that.

    The engine cuts a limit at what fits (`Scheduler.init_req_max_new_tokens`).
    """
    known = "limit" not in s.options
    limit = one.output if known else min(s.options["limit"], s.blocks - one.prompt - 2)
    most = max(limit, one.output)
    wanted = SamplingParams(max_new_tokens=most, ignore_eos=known, temperature=0.0)
    wanted.normalize(None)
    tokens = array("q", one.tokens(number))
    req = Req(str(number), "", tokens, wanted, vocab_size=8192)
    req.ends = one.output
    driven.waiting_queue.append(req)


def _answer(driven: Driven, batch: Any, extend: bool) -> int:
    """One made-up token for each request whose prompt is computed; how many requests ended."""
    ended = 0
    for req in batch.reqs:
        if extend and req.inflight_middle_chunks > 0:
            req.inflight_middle_chunks -= 1
            continue
        req.output_ids.append(2_000_000 + int(req.rid) * 1_000 + len(req.output_ids))
        if len(req.output_ids) >= req.ends:
            req.finished_reason = FINISH_LENGTH(length=len(req.output_ids))
            release_kv_cache(req, driven.tree_cache, checkpoint=True)
            ended += 1
        elif extend:
            checkpoint_kv_cache(req, driven.tree_cache)
    return ended
