"""Naive NumPy code, compiled: the same numbers, what became of it, and what it costs where."""

import numpy as np

import maquette as mq


def entropy(logits: np.ndarray) -> np.ndarray:
    """The entropy of the distribution that each row of logits stands for."""
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    chances = weights / weights.sum(axis=-1, keepdims=True)
    return -(chances * np.log(chances)).sum(axis=-1)


def main() -> None:
    """Print the kernels, how they were chosen, and their price here and on a GPU."""
    logits = np.random.default_rng(0).normal(size=(64, 1000)).astype(np.float32)
    fast = mq.compile(entropy)
    print("the same numbers:", np.allclose(fast(logits), entropy(logits), atol=1e-4))
    print(fast.schedule)
    print(*fast.report, sep="\n")
    print(fast.cost())
    print(fast.cost("h100-sxm"))


if __name__ == "__main__":
    main()
