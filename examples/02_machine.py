"""A what-if on a machine: which number of an H100 is worth raising, for decoding and for prompts?

Each line changes one fact and keeps all others; nothing is simulated, a step is walked and priced.
"""

import maquette as mq

CHANGES = {
    "as it is": [],
    "twice the arithmetic": ["machine.compute.matrix.bf16=1978 TFLOP/s"],
    "twice the bandwidth": ["machine.hbm.bandwidth=6.7 TB/s"],
    "twice the links": ["machine.links.scale_up.bandwidth=900 GB/s"],
}


def main() -> None:
    """Print the time of a decode step and of a prefill under each change."""
    print("llama-3.1-70b on four H100, 32 sequences at 4,096 tokens\n")
    for name, overrides in CHANGES.items():
        step = mq.explain(
            "llama-3.1-70b", on="h100x4", tp=4, batch=32, context=4096, overrides=overrides
        )
        decode, prefill = step.decode.total * 1e3, step.prefill.total * 1e3
        print(f"{name:22} decode {decode:5.1f} ms   prefill {prefill:5.0f} ms")


if __name__ == "__main__":
    main()
