"""How to start what was planned: commands for the engines, and a Kubernetes manifest.

Option names are those of vLLM 0.8+ (engine arguments), SGLang (server arguments) and
TensorRT-LLM's ``trtllm-serve`` with the options that it reads from a file (``TorchLlmArgs``), read
in their documentation in November 2026.  What is a rule of one engine (admission, overlap, the size
of blocks) is said to that engine only, where the plan is for it; others keep their own.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping

from maquette.catalogue.engines import core
from maquette.machines.types import System
from maquette.plans.types import Plan, Policy

OPTIONS = "tensorrt-llm-options"  # what the command of TensorRT-LLM reads from a file
SGLANG_PREFILL = 16384  # tokens of prompts in one step of SGLang, unless told otherwise
CAPACITY = dict.fromkeys(("output", "estimate"), "GUARANTEED_NO_EVICT")
CAPACITY |= dict.fromkeys(("prompt", "chunk"), "MAX_UTILIZATION")
QUANTISATION = {"fp8": "fp8", "int8": "bitsandbytes", "int4": "awq", "mxfp4": "mxfp4"}
VENDOR_RESOURCE = {"NVIDIA": "nvidia.com/gpu", "AMD": "amd.com/gpu", "Intel": "habana.ai/gaudi"}


def launch(repository: str, native: str, plan: Plan, system: System) -> Mapping[str, str]:
    """Commands for one replica by engine, the planned one first if it is of these; a manifest.

    `native` is the checkpoint's own weight format: nothing is asked for what is already so.
    """
    plan = plan.but(engine=core(plan.engine))
    if plan.prefill_mesh is not None:
        return _apart(repository, native, plan)
    # vLLM reads uneven stages from its environment.
    uneven = f"VLLM_PP_LAYER_PARTITION={','.join(map(str, plan.stages))} " if plan.stages else ""
    vllm = _join(uneven + "vllm serve", repository, _vllm(plan, native))
    commands = {
        "vllm": vllm,
        "sglang": _join(
            "python -m sglang.launch_server --model-path", repository, _sglang(plan, native)
        ),
    }
    if system.machine.vendor == "NVIDIA" and plan.mesh.dp == 1:
        commands["tensorrt-llm"] = _join("trtllm-serve", repository, _trtllm(plan))
        commands[OPTIONS] = _trtllm_options(plan)
    ours = sorted(commands, key=lambda name: not name.startswith(plan.engine.partition("-0")[0]))
    commands = {name: commands[name] for name in ours}
    commands["kubernetes"] = manifest(repository, plan, system, _vllm(plan, native))
    return commands


def _apart(repository: str, native: str, plan: Plan) -> Mapping[str, str]:
    """Commands for a replica that prefills and one that decodes; a router comes before them."""
    commands = {}
    for role, mesh in (("prefill", plan.prefill_mesh), ("decode", plan.mesh)):
        assert mesh is not None
        own = plan.but(mesh=mesh)
        transfer = """--kv-transfer-config '{"kv_connector":"NixlConnector","kv_role":"kv_both"}'"""
        options = [*_vllm(own, native), transfer]
        commands[f"vllm {role}"] = _join("vllm serve", repository, options)
        options = [*_sglang(own, native), f"--disaggregation-mode {role}"]
        start = "python -m sglang.launch_server --model-path"
        commands[f"sglang {role}"] = _join(start, repository, options)
    return commands


def _vllm(plan: Plan, native: str) -> list[str]:
    mesh, policy = plan.mesh, plan.policy
    options = [f"--tensor-parallel-size {mesh.tp}"]
    if mesh.pp > 1:
        options.append(f"--pipeline-parallel-size {mesh.pp}")
    if mesh.dp > 1:
        options.append(f"--data-parallel-size {mesh.dp}")
    if mesh.ep > 1:
        options.append("--enable-expert-parallel")
    # As here, both limits are those of one data-parallel rank.
    options.append(f"--max-num-seqs {policy.max_seqs}")
    options.append(f"--max-num-batched-tokens {policy.max_batched_tokens}")
    options += _share("--gpu-memory-utilization", plan, "vllm")
    options.append(f"--block-size {policy.block_size}")
    options += _formats(plan, native, "fp8")
    options.append(f"--{'' if policy.prefix_caching else 'no-'}enable-prefix-caching")
    options.append(f"--{'' if policy.chunked_prefill else 'no-'}enable-chunked-prefill")
    if policy.kv_blocks is not None:
        options.append(f"--num-gpu-blocks-override {policy.kv_blocks // mesh.dp}")
    options += _graphs_vllm(policy)
    if policy.overlap and plan.engine.startswith("vllm"):
        options.append("--async-scheduling")
    elif plan.engine == "vllm-0.14":
        options.append("--no-async-scheduling")
    if plan.engine in ("vllm", "vllm-0.14"):  # its own rules otherwise
        if policy.admission == "chunk":
            options.append("--no-scheduler-reserve-full-isl")
        if policy.watermark:
            options.append(f"--watermark {policy.watermark:g}")
    return options


def _sglang(plan: Plan, native: str) -> list[str]:
    mesh, policy = plan.mesh, plan.policy
    options = [f"--tp-size {mesh.tp * mesh.dp}"]  # SGLang lays attention groups inside tp
    if mesh.pp > 1:
        options.append(f"--pp-size {mesh.pp}")
    if mesh.dp > 1:
        options.append(f"--dp-size {mesh.dp} --enable-dp-attention")
    if mesh.ep > 1:
        options.append(f"--ep-size {mesh.ep}")
    # SGLang divides both limits over its attention groups.
    options.append(f"--max-running-requests {policy.max_seqs * mesh.dp}")
    chunk = policy.max_batched_tokens * mesh.dp if policy.chunked_prefill else -1
    options.append(f"--chunked-prefill-size {chunk}")
    if not policy.chunked_prefill or policy.max_batched_tokens > SGLANG_PREFILL:
        options.append(f"--max-prefill-tokens {policy.max_batched_tokens * mesh.dp}")
    options += _share("--mem-fraction-static", plan, "sglang")
    options += _formats(plan, native, "fp8_e4m3")
    if not policy.prefix_caching:
        options.append("--disable-radix-cache")
    options += _graphs_sglang(policy)
    if plan.engine == "sglang":
        options.append(f"--page-size {policy.block_size}")
    if policy.kv_blocks is not None:
        options.append(f"--max-total-tokens {policy.kv_blocks * policy.block_size}")
    if plan.engine == "sglang" and not policy.overlap:
        options.append("--disable-overlap-schedule")
    if plan.engine == "sglang" and policy.scheduler == "continuous":
        options.append("--enable-mixed-chunk")
    return options


def _trtllm(plan: Plan) -> list[str]:
    mesh, policy = plan.mesh, plan.policy
    options = [f"--tp_size {mesh.tp}", f"--pp_size {mesh.pp}"]
    if mesh.ep > 1:
        options.append(f"--ep_size {mesh.ep}")
    options.append(f"--max_batch_size {policy.max_seqs}")
    options.append(f"--max_num_tokens {policy.max_batched_tokens}")
    options += _share("--kv_cache_free_gpu_memory_fraction", plan, "tensorrt-llm")
    return [*options, f"--extra_llm_api_options launch-{OPTIONS}.yaml"]


def _trtllm_options(plan: Plan) -> str:
    """What ``trtllm-serve`` takes from a file: YAML."""
    policy, own = plan.policy, plan.engine == "tensorrt-llm"
    cache: dict[str, object] = {"enable_block_reuse": policy.prefix_caching}
    if own:
        cache["tokens_per_block"] = policy.block_size
    if policy.kv_blocks is not None:
        cache["max_tokens"] = policy.kv_blocks * policy.block_size
    if plan.precision.kv == "fp8":
        cache["dtype"] = "fp8"
    said: dict[str, object] = {"enable_chunked_prefill": policy.chunked_prefill}
    if own:
        static = policy.scheduler == "static"
        capacity = "STATIC_BATCH" if static else CAPACITY[policy.admission]
        said["disable_overlap_scheduler"] = not policy.overlap
        said["scheduler_config"] = {"capacity_scheduler_policy": capacity}
    said["kv_cache_config"] = cache
    if policy.graphs == "none":
        said["cuda_graph_config"] = None
    elif policy.captured is not None:
        said["cuda_graph_config"] = {"max_batch_size": policy.captured}
    return "\n".join(_yaml(said))


def _yaml(values: Mapping[str, object], indent: str = "") -> Iterator[str]:
    """Lines of a mapping; its scalars are spelt in YAML as in JSON."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield f"{indent}{name}:"
            yield from _yaml(value, indent + "  ")
        else:
            yield f"{indent}{name}: {value if isinstance(value, str) else json.dumps(value)}"


def _share(option: str, plan: Plan, engine: str) -> list[str]:
    """The share of memory, where one is given: to the engine it was meant for, as others mean it
    otherwise (`plans.engine.Budget`)."""
    share = plan.policy.memory_utilisation
    return [f"{option} {share:g}"] if share is not None and plan.engine.startswith(engine) else []


def _graphs_vllm(policy: Policy) -> list[str]:
    if policy.graphs == "none":
        return ["--enforce-eager"]
    chosen: dict[str, object] = {}
    if policy.graphs != "full":
        modes = {"decode": "FULL_DECODE_ONLY", "piecewise": "PIECEWISE"}
        chosen["cudagraph_mode"] = modes[policy.graphs]
    if policy.captured is not None:
        chosen["max_cudagraph_capture_size"] = policy.captured
    return [f"--compilation-config '{json.dumps(chosen)}'"] if chosen else []


def _graphs_sglang(policy: Policy) -> list[str]:
    if policy.graphs == "none":
        return ["--disable-cuda-graph"]
    return [] if policy.captured is None else [f"--cuda-graph-max-bs {policy.captured}"]


def _formats(plan: Plan, native: str, kv8: str) -> list[str]:
    options = []
    weights = plan.precision.weights
    if weights != native and weights in QUANTISATION:
        options.append(f"--quantization {QUANTISATION[weights]}")
    if plan.precision.kv == "fp8":
        options.append(f"--kv-cache-dtype {kv8}")
    return options


def _join(start: str, repository: str, options: list[str]) -> str:
    return " \\\n  ".join([f"{start} {repository}", *options])


def manifest(repository: str, plan: Plan, system: System, options: list[str]) -> str:
    """A Deployment of all replicas behind one Service, each on its own devices of one node."""
    resource = VENDOR_RESOURCE.get(system.machine.vendor, "example.com/accelerator")
    name = repository.rsplit("/", 1)[-1].lower().replace(".", "-").replace("_", "-")
    flags = "".join(
        f"            - {json.dumps(part)}\n" for o in options for part in shlex.split(o)
    )
    return f"""\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
spec:
  replicas: {plan.replicas}
  selector:
    matchLabels: {{app: {name}}}
  template:
    metadata:
      labels: {{app: {name}}}
    spec:
      containers:
        - name: vllm
          image: vllm/vllm-openai
          args:
            - --model
            - {repository}
{flags}          ports:
            - containerPort: 8000
          resources:
            limits:
              {resource}: {plan.mesh.devices}
          volumeMounts:
            - {{name: shm, mountPath: /dev/shm}}
      volumes:
        - name: shm
          emptyDir: {{medium: Memory}}
---
apiVersion: v1
kind: Service
metadata:
  name: {name}
spec:
  selector: {{app: {name}}}
  ports:
    - port: 80
      targetPort: 8000
"""
