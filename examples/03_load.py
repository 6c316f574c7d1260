"""Latency against load: one deployment under more and more of the same chat traffic.

The requests are the same at every rate (common random numbers); only their gaps shrink.
"""

import maquette as mq


def main() -> None:
    """Print TTFT, TPOT and cost at each rate."""
    print("llama-3.1-8b on one H100, chat\n")
    print("  req/s   TTFT p50   TTFT p99   TPOT p99   tokens/s   $/M output tokens")
    for rate in 2, 4, 8, 12, 16, 20, 24:
        chat = mq.requests("chat", rate=rate, requests=4000)
        run = mq.simulate("llama-3.1-8b", on="h100", traffic=chat, draws=0)
        m = run.metrics
        print(
            f"{rate:7} {m.ttft[50] * 1e3:7.0f} ms {m.ttft[99] * 1e3:7.0f} ms "
            f"{m.tpot[99] * 1e3:7.1f} ms {m.output_tokens_per_s:10,.0f} "
            f"{run.usd_per_mtok_output:12.3f}"
        )


if __name__ == "__main__":
    main()
