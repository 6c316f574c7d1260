// The loop of loop.py for times alone, on the same arrays: every step here has its twin there.

#include <algorithm>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

namespace {

using Int = int64_t;

struct ActorTable { Int interval, latency, tier, bytes, firings, firstRun, runs, in, ins, out, outs; };
struct ActorState { Int phase, left, fired, free, end, starved, blocked, memory, noted, stride; };
struct QueueTable { Int slots, latency, response, held; };
struct QueueState { Int puts, takes, seen, high; };
struct TierTable { Int parts, perByte, latency; };
struct TierState { Int free, bytes; };
struct RunTable { Int times, rates; };
struct Counts { Int actors, queues, tiers, records, firings, next, mark; };

struct Queue {  // rings, with the slots that come next so that nothing is divided
    QueueTable table;
    QueueState *state;
    Int *arrive, *release;
    Int putSlot, takeSlot, seenSlot;
    Int writer, reader;

    Int slot(Int from, Int ahead) const {
        Int s = from + ahead;
        return s < table.slots ? s : s - table.slots;
    }
    void take(Int count, Int now, Int freed) {
        while (state->seen < state->puts && arrive[seenSlot] <= now) {
            ++state->seen;
            seenSlot = slot(seenSlot, 1);
        }
        state->high = std::max(state->high, state->seen - state->takes);
        for (Int k = 0; k < count; ++k) {
            release[takeSlot] = freed;
            takeSlot = slot(takeSlot, 1);
        }
        state->takes += count;
    }
    void put(Int time) {
        arrive[putSlot] = time;
        putSlot = slot(putSlot, 1);
        ++state->puts;
    }
};

struct Port { Queue *queue; Int count; };
struct Phase { Int times; std::vector<Port> needs, takes, gives; };

struct Actor {
    ActorTable table;
    ActorState *state;
    std::vector<Phase> phases;
    std::vector<Int> near;
    Phase *phase;
    Int *records;
    bool full = false, queued = false;

    Int start() {  // when the next firing starts; -1: not yet known, or never
        if (state->fired == table.firings) return -1;
        Int ready = 0, room = 0;
        for (const Port &p : phase->needs) {
            const Queue &q = *p.queue;
            if (q.state->takes + p.count > q.state->puts) return -1;
            ready = std::max(ready, q.arrive[q.slot(q.takeSlot, p.count - 1)]);
        }
        for (const Port &p : phase->gives) {
            const Queue &q = *p.queue;
            if (q.state->puts + p.count - q.state->takes > q.table.slots) return -1;
            room = std::max(room, q.release[q.slot(q.putSlot, p.count - 1)]);
        }
        full = room > ready;
        return std::max(std::max(ready, room), state->free);
    }
    void advance() {
        ++state->fired;
        if (--state->left) return;
        if (++state->phase == Int(phases.size())) state->phase = 0;
        phase = &phases[state->phase];
        state->left = phase->times;
    }
    bool begins() const { return !state->phase && state->left == phase->times; }
    void note(Int start, Int end, Int limit) {
        if (state->fired % state->stride) return;
        if (state->noted == limit) {
            for (Int i = 0; 2 * i < limit; ++i) std::copy_n(records + 4 * i, 2, records + 2 * i);
            state->noted = (limit + 1) / 2;
            state->stride *= 2;
            if (state->fired % state->stride) return;
        }
        records[2 * state->noted] = start;
        records[2 * state->noted++ + 1] = end;
    }
};

std::vector<Port> ports(std::vector<Queue> &queues, const Int *which, Int n, const Int *rates) {
    std::vector<Port> found;
    for (Int i = 0; i < n; ++i)
        if (rates[i]) found.push_back({&queues[which[i]], rates[i]});
    return found;
}

struct Loop {
    Counts *counts;
    const TierTable *tierTables;
    TierState *tiers;
    const Int *marks;
    std::vector<Queue> queues;
    std::vector<Actor> actors;
    std::vector<std::pair<Int, Int>> ready;  // a heap of (start, actor), the earliest first

    void offer(Int index) {
        Actor &a = actors[index];
        Int start = a.start();
        if (start < 0) return;
        a.queued = true;
        ready.push_back({start, index});
        std::push_heap(ready.begin(), ready.end(), std::greater<>());
    }
    void fire(Actor &a, Int now) {
        (a.full ? a.state->blocked : a.state->starved) += now - a.state->free;
        Int end = now + a.table.latency, free = now + a.table.interval;
        if (a.table.tier >= 0) {
            const TierTable &t = tierTables[a.table.tier];
            TierState &s = tiers[a.table.tier];
            s.free = std::max(s.free, now * t.parts) + a.table.bytes * t.perByte;
            s.bytes += a.table.bytes;
            Int asked = s.free / t.parts, served = (s.free + t.parts - 1) / t.parts;
            end += served - now + t.latency;
            if (asked > free) {
                a.state->memory += asked - free;
                free = asked;
            }
        }
        a.state->free = free;
        for (const Port &p : a.phase->takes)
            p.queue->take(p.count, now, (p.queue->table.held ? end : now) + p.queue->table.response);
        for (const Port &p : a.phase->gives) p.queue->put(end + p.queue->table.latency);
        a.state->end = std::max(end, free);
        if (counts->records) a.note(now, end, counts->records);
        a.advance();
    }
    void run() {
        for (Int i = 0; i < counts->actors; ++i) offer(i);
        while (!ready.empty()) {
            auto [now, index] = ready.front();
            std::pop_heap(ready.begin(), ready.end(), std::greater<>());
            ready.pop_back();
            Actor &a = actors[index];
            a.queued = false;
            fire(a, now);
            for (Int near : a.near)
                if (!actors[near].queued) offer(near);
            if (marks[index] && a.begins()) {
                counts->mark = index;
                break;
            }
            if (!--counts->firings) break;
        }
        if (!ready.empty()) counts->next = ready.front().first;
    }
};

void queues(Loop &loop, const QueueTable *tables, QueueState *states, const Int *offsets,
            Int *arrive, Int *release) {
    for (Int i = 0; i < loop.counts->queues; ++i) {
        Int n = tables[i].slots;
        loop.queues.push_back({tables[i], &states[i], arrive + offsets[i], release + offsets[i],
                               states[i].puts % n, states[i].takes % n, states[i].seen % n, -1, -1});
    }
}

void actors(Loop &loop, const ActorTable *tables, ActorState *states, const RunTable *runs,
            const Int *rates, const Int *which, Int *records) {
    Int n = loop.counts->actors;
    loop.actors.resize(n);
    for (Int i = 0; i < n; ++i) {
        const ActorTable &t = tables[i];
        Actor &a = loop.actors[i];
        a.table = t;
        a.state = &states[i];
        a.records = records + 2 * loop.counts->records * i;
        for (Int r = t.firstRun; r < t.firstRun + t.runs; ++r) {
            const Int *at = rates + runs[r].rates;
            a.phases.push_back({runs[r].times, ports(loop.queues, which + t.in, t.ins, at),
                                ports(loop.queues, which + t.in, t.ins, at + t.ins),
                                ports(loop.queues, which + t.out, t.outs, at + 2 * t.ins)});
        }
        a.phase = &a.phases[a.state->phase];
        for (Int k = 0; k < t.ins; ++k) loop.queues[which[t.in + k]].reader = i;
        for (Int k = 0; k < t.outs; ++k) loop.queues[which[t.out + k]].writer = i;
    }
    for (Int i = 0; i < n; ++i) {
        const ActorTable &t = tables[i];
        std::vector<Int> &near = loop.actors[i].near;
        near.push_back(i);
        for (Int k = 0; k < t.ins; ++k) near.push_back(loop.queues[which[t.in + k]].writer);
        for (Int k = 0; k < t.outs; ++k) near.push_back(loop.queues[which[t.out + k]].reader);
        std::sort(near.begin(), near.end());
        near.erase(std::unique(near.begin(), near.end()), near.end());
    }
}

}  // namespace

extern "C" void maquette_engine(void *const *b) {
    Loop loop;
    loop.counts = static_cast<Counts *>(b[0]);
    loop.tierTables = static_cast<const TierTable *>(b[1]);
    loop.tiers = static_cast<TierState *>(b[2]);
    queues(loop, static_cast<const QueueTable *>(b[3]), static_cast<QueueState *>(b[4]),
           static_cast<const Int *>(b[5]), static_cast<Int *>(b[6]), static_cast<Int *>(b[7]));
    actors(loop, static_cast<const ActorTable *>(b[8]), static_cast<ActorState *>(b[9]),
           static_cast<const RunTable *>(b[10]), static_cast<const Int *>(b[11]),
           static_cast<const Int *>(b[12]), static_cast<Int *>(b[13]));
    loop.marks = static_cast<const Int *>(b[14]);
    loop.run();
}
