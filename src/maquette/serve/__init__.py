"""Serving on one clock: requests, replicas and a policy in, a Trace out.

`simulate.simulate` runs it, `metrics.summary` reads it.  What is simulated follows the schedulers
of engines, which differ (docs/schedulers.md); by default vLLM's:

- A step has a token budget.  Decoding sequences take one token each, then the prefill under way
  goes on, then waiting requests are admitted in the order of (priority, arrival) while budget,
  sequences and KV blocks last.  The step that ends a prefill emits a token.
- A request is admitted when there are blocks for its prompt, or by policy for its next chunk only
  or for all it will ever take.  They are allocated as chunks are scheduled and as decoding reaches
  them.  When none is left the running sequence last in that order is freed; what of it is cached no
  longer is computed anew later, generated tokens included; decoding sequences are served in the
  same order (vLLM: in the order of admission, which differs only with priorities).  The token after
  the prompt is not in the cache before its own step.
- A block holds its tokens in every layer whose KV `price.memory` counts per token, for as long as
  the sequence runs.  Where an engine frees what a window has passed, those layers are a fixed
  amount per sequence, set aside before blocks are counted; elsewhere they keep the whole context.
  Only the price of attention ends at the window.
- Where prefill is first a step either holds prompts or decodes (vLLM v0, SGLang).  Without chunked
  prefill what could exceed the budget, preempted and computed anew, is rejected.
- Where steps are formed ahead (`overlap`), a step is formed from what was known when the one before
  it began: arrivals, freed places and blocks, and prompts that others find once computed, count one
  step later.  If that gives none, it is formed from all that is known.
- Static batches reserve blocks for their whole outputs, are prefilled, and decode until the last
  has finished; finished sequences keep their rows and blocks; tokens count when emitted.
- Prefixes are shared in whole units of hash blocks; only prompts have hashes, so what a request
  generates is not found by the next turn.  Equal units are held once, but for one that is computed
  anew for its last token.
- A request is dropped at the first step boundary at or after its time limit, unless it ends there.
- In a disaggregated fleet the prefill emits the first token; then the cache crosses the replica's
  link, one request after the other, and keeps its blocks there meanwhile.  The decode replica
  holds no blocks before the transfer has ended; preempted there, a request is prefilled there.
- Pipeline stages and attention groups are lanes: batches in flight, each with its share of
  sequences, blocks and prefixes; a request goes to the lane with the fewest.

`lane`, `decoders`, `blocks`, `schedulers` and `estimated` sum runs of steps in closed form;
`stepwise` (with `counted`) takes every step and is the oracle.  Both stand in a `cluster`, which
orders events; they write what the batches did to a `timeline` and what became of each request to
`outcomes`.
"""
