"""Claims about pruned weights, and about training that streams weights to wafers."""

from __future__ import annotations

from maquette.catalogue.calibrations import find
from maquette.catalogue.engines import engine, policy
from maquette.catalogue.machines import systems
from maquette.catalogue.models import model
from maquette.compiler.lower import lower
from maquette.ir.facts import parameters
from maquette.models.decoder import program
from maquette.models.huggingface import from_huggingface
from maquette.plans.legality import PRECISIONS, adjusted
from maquette.price.step import StepModel
from maquette.reproduce.types import Claim, Result, Row, beside, shape, within
from maquette.search.deployment import deploy
from maquette.search.types import Wish
from maquette.validate.sparsity import flop_reduction

GPT3_XL = {  # 8 d² weights of its feed-forward layers, in three matrices
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 2048,
    "intermediate_size": 5461, "num_hidden_layers": 24, "num_attention_heads": 16,
    "num_key_value_heads": 16, "vocab_size": 50257, "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5, "hidden_act": "silu", "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
}  # fmt: skip
CHUNK = 1 << 16  # tokens of the largest step that is priced


def pruned() -> Result:
    """Flops of a pruned GPT-3 XL: products with a layer's weights shrink, nothing else does."""
    schedule = lower(program(from_huggingface(GPT3_XL, "gpt3-xl")), engine("vendor"))
    rows = []
    for what, share, published in (
        ("75 % sparse, training (SPDF)", 0.75, 2.5),
        ("83.8 % sparse, iterative pruning", 0.838, 3.0),
        ("50 % sparse", 0.5, 1.67),
    ):
        ours = flop_reduction(schedule, 2048, share, causal=False)
        rows.append(within(what, published, ours, "x", 0.02))
        other = flop_reduction(schedule, 2048, share)
        rows.append(beside(f"{what}, causal mask", other, "x", "half the scores: less stays dense"))
        rows.append(beside(f"{what}, all flops", 1 / (1 - share), "x", "what 1 / (1 - share) says"))
    return Result(tuple(rows))


def step(name: str, *overrides: str) -> StepModel:
    """A forward pass of a model on one CS-2 that streams all its weights, by the ordinary price."""
    (where,) = systems("cs-2", overrides)
    chosen = engine("vendor")
    found = deploy(
        model(name), where, chosen, find(where.machine, chosen.name),
        wish=Wish(1, 1, 1, 1), precision=PRECISIONS["bf16"],
        policy=adjusted(policy(chosen, where.machine), {"max_batched_tokens": CHUNK}), cold=1.0,
    )  # fmt: skip
    return found.replica().step


def gain(compute: float, stream: float, batch: float, count: int) -> float:
    """How much sooner `count` systems are through a batch: a step is three forward passes.

    Weights come twice, forward and backward; gradients go the other way meanwhile.
    """

    def took(tokens: float) -> float:
        return max(3 * compute * tokens, 2 * stream)

    return took(batch) / took(batch / count)


def scaling() -> Result:
    """Data-parallel training with streamed weights: linear while each system has tokens enough."""
    rows: list[Row] = []
    for name in ("llama-3.2-1b", "llama-2-7b", "mistral-small-24b"):
        stream = float(step(name).tokens[1])
        alone = step(name, "machine.memoryx.bandwidth=1 PB/s").tokens
        compute = float(alone[CHUNK] - alone[CHUNK // 2]) / (CHUNK // 2)
        least = 2 * stream / (3 * compute)
        note = f"needs {least:,.0f} tokens a system, about as any model"
        rows.append(within(f"{name}, 1 M tokens, 16 systems", 16, gain(compute, stream, 2**20, 16),
                           "x", 0.05, note=note))  # fmt: skip
        rows.append(beside(f"{name}, 1 M tokens, 192 systems",
                           gain(compute, stream, 2**20, 192), "x", "no longer linear"))  # fmt: skip
        rows.append(beside(f"{name}, linear at 192 systems from", 192 * least / 1e6, "M tokens"))
    return Result(tuple(rows), ("share of peak that products reach: a prior",))


def day() -> Result:
    """What a day on 2048 CS-3 must sustain to train 70B parameters from nothing."""
    (chip,) = systems("cs-3")
    peak = float(chip.machine.compute.matrix["bf16"].value)
    size = float(parameters(program(model("llama-2-70b")))({}))
    shares = {t: 6 * size * t / (2048 * 86400 * peak) for t in (2e12, 15e12)}
    return Result(
        (
            shape("2 T tokens, as Llama 2: below the dense peak", shares[2e12] < 1,
                  100 * shares[2e12], "% of peak"),
            shape("15 T tokens, as Llama 3: not possible", shares[15e12] > 1, 100 * shares[15e12],
                  "% of peak", "so the claim is of Llama-2 token counts"),
        )
    )  # fmt: skip


WSE = "wafer"
CLAIMS = (
    Claim("spdf", "Flops that pruned weights save",
          "SPDF (arXiv 2303.10464); Cerebras on iterative pruning", WSE, pruned),
    Claim("weight-streaming", "Linear scaling of streamed training", "Cerebras Andromeda, 2022",
          WSE, scaling),
    Claim("cs3-70b-day", "A 70B model from scratch in a day on 2048 CS-3", "Cerebras, 2024", WSE,
          day, expected="shape"),
)  # fmt: skip
