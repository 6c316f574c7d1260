"""The cheapest deployment that keeps its targets, on either of two machines, and why."""

import maquette as mq


def main() -> None:
    """Print the plans that were simulated, the winner and what binds it."""
    chat = mq.requests("chat", rate=8, requests=2000)
    answer = mq.plan(
        "llama-3.1-70b", on="h100x8,h200x8", traffic=chat, ttft=1.0, tpot=0.05, percentile=99
    )
    for outcome in answer.outcomes:
        system, plan = outcome.candidate.system, outcome.plan
        print(
            f"{plan.mesh!s:8} x {plan.replicas} of {system.machine.name:9} "
            f"{outcome.usd_per_mtok_output:6.2f} $/M   "
            f"TTFT p99 {outcome.metrics.ttft[99] * 1e3:6.0f} ms   "
            f"TPOT p99 {outcome.metrics.tpot[99] * 1e3:5.1f} ms   "
            + (", ".join(outcome.misses) or "keeps the targets")
        )
    if answer.explanation is None:
        print("nothing keeps the targets")
        return
    print(f"\n{answer.explanation.binding}\n")
    print(next(iter(answer.launch.values())))


if __name__ == "__main__":
    main()
