"""A composition of experts: whole models behind a router, in tiers of memory, on one clock.

A request goes to the router, which names one expert; the expert's weights are copied from the cold
tier (DDR, or a host's memory over its links) into the fast one unless they are there; then the
expert prefills and decodes.  What is simulated:

- A node runs one thing at a time, the router or one batch of one expert, and has one copy engine.
  Experts are read-only: what is evicted is dropped, never written back.
- Requests are served in the order of their routing.  While the copy for the first of them is under
  way the node waits (a stall); with `batch_by_expert` all waiting requests of its expert join it.
- With `overlap` copies run beside compute: the layers of an expert are computed as they arrive,
  and with prefetching the experts of queued requests are copied ahead, in their order, never
  evicting what an earlier one needs.
- Closed batches arrive together, the next when the last answer of the one before is out; or
  requests arrive at a rate.

`closed` holds the closed forms: the zero-hit limit of the simulation, published figures beside
them, memory cliffs, machine footprints, hit rates of LRU under a popularity.
"""
