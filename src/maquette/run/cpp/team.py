"""Threads for a compiler that turns OpenMP into calls but brings no library that takes them.

The calls are those that clang makes, and as many of them as generated code needs.  Threads are
started once and wait for the next region, spinning for a while first; a region inside of a region
has one thread, and regions of several callers take turns.
"""

from __future__ import annotations

from maquette.run.source import Source

_MOST = 64  # variables that a region shares with what surrounds it

_STATE = r"""
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#define GET(x) __atomic_load_n(&(x), __ATOMIC_ACQUIRE)
#define SET(x, y) __atomic_store_n(&(x), y, __ATOMIC_RELEASE)
#define ADD(x, y) __atomic_add_fetch(&(x), y, __ATOMIC_ACQ_REL)
typedef void region(int *, int *@TYPES@);
enum { LOOPS = 16, SPINS = 20000 };

// Iterations of a loop are handed out from a slot; the last thread to leave it prepares it anew.
struct loop { long number, next, left; };
struct mine { int thread, team, wished; long loops, singles, low, step, trips, chunk, next; };
static struct {
  pthread_mutex_t turn, sleep;
  pthread_cond_t wake;
  int workers, size, asleep;
  long epoch, left, arrived, barriers, singles;
  region *what;
  void *args[@MOST@];
  loop loops[LOOPS];
} all = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER};
static __thread mine me = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0};  // of team 0: outside of regions

static void rest(long spun) {
  if (spun > SPINS / 8) sched_yield();
#if defined(__x86_64__)
  else __builtin_ia32_pause();
#endif
}
"""

_THREADS = r"""
static void enter(int thread, int team, region *what, void **a) {
  me.thread = thread;
  me.team = team;
  me.loops = me.singles = 0;
  int id = thread, bound = thread;
  what(&id, &bound@GIVEN@);
}
static void *work(void *born) {
  const int thread = (long)born & 0xffff;
  for (long seen = (long)born >> 16;; ++seen) {
    for (long s = 0; GET(all.epoch) == seen && s < SPINS; ++s) rest(s);
    if (GET(all.epoch) == seen) {
      pthread_mutex_lock(&all.sleep);
      ++all.asleep;
      while (GET(all.epoch) == seen) pthread_cond_wait(&all.wake, &all.sleep);
      --all.asleep;
      pthread_mutex_unlock(&all.sleep);
    }
    if (thread < all.size) enter(thread, all.size, all.what, all.args);
    ADD(all.left, -1);
  }
  return nullptr;
}
static void forked() {  // a child process has no thread but the one that forked
  all.workers = all.asleep = 0;
  pthread_mutex_init(&all.turn, nullptr);
  pthread_mutex_init(&all.sleep, nullptr);
  pthread_cond_init(&all.wake, nullptr);
}
__attribute__((constructor)) static void begin() { pthread_atfork(nullptr, nullptr, forked); }
static int grown(int team) {
  while (all.workers + 1 < team) {
    pthread_t made;
    if (pthread_create(&made, nullptr, work, (void *)(all.epoch << 16 | (all.workers + 1)))) break;
    pthread_detach(made);
    ++all.workers;
  }
  return team < all.workers + 1 ? team : all.workers + 1;
}
extern "C" {
void maquette_team(void *const *) {}
int __kmpc_global_thread_num(void *) { return me.thread; }
int __kmpc_bound_thread_num(void *) { return me.thread; }
int __kmpc_bound_num_threads(void *) { return me.team ? me.team : 1; }
void __kmpc_push_num_threads(void *, int, int n) { me.wished = n; }
void __kmpc_fork_call(void *, int count, region *what, ...) {
  const mine outside = me;
  void *args[@MOST@] = {};
  va_list given;
  va_start(given, what);
  for (int i = 0; i < count; ++i) args[i] = va_arg(given, void *);
  va_end(given);
  if (outside.team || outside.wished < 2) {
    enter(0, 1, what, args);
  } else {
    pthread_mutex_lock(&all.turn);
    const int team = grown(outside.wished);
    for (int i = 0; i < count; ++i) all.args[i] = args[i];
    for (int i = 0; i < LOOPS; ++i) all.loops[i] = {i, 0, team};
    all.what = what;
    all.size = team;
    all.arrived = all.singles = 0;
    all.left = all.workers;
    pthread_mutex_lock(&all.sleep);
    SET(all.epoch, all.epoch + 1);
    if (all.asleep) pthread_cond_broadcast(&all.wake);
    pthread_mutex_unlock(&all.sleep);
    enter(0, team, what, args);
    for (long s = 0; GET(all.left); ++s) rest(s);
    pthread_mutex_unlock(&all.turn);
  }
  me = outside;
  me.wished = 0;
}
"""

_SHARES = r"""
void __kmpc_barrier(void *, int) {
  if (me.team < 2) return;
  const long seen = GET(all.barriers);
  if (ADD(all.arrived, 1) == me.team) {
    SET(all.arrived, 0);
    ADD(all.barriers, 1);
  } else {
    for (long s = 0; GET(all.barriers) == seen; ++s) rest(s);
  }
}
int __kmpc_single(void *, int) {
  if (me.team < 2) return 1;
  long mine = me.singles++;
  return __atomic_compare_exchange_n(&all.singles, &mine, mine + 1, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_ACQUIRE);
}
void __kmpc_end_single(void *, int) {}
void __kmpc_for_static_fini(void *, int) {}
void __kmpc_dispatch_deinit(void *, int) {}
}
static long trips(long low, long high, long step) {
  return step > 0 ? (high < low ? 0 : (high - low) / step + 1)
                  : (high > low ? 0 : (low - high) / -step + 1);
}
static void begin_dynamic(long low, long trips, long step, long chunk) {
  me.low = low;
  me.step = step;
  me.trips = trips;
  me.chunk = chunk > 0 ? chunk : 1;
  me.next = 0;
  if (me.team < 2) return;
  for (long s = 0; GET(all.loops[me.loops % LOOPS].number) != me.loops; ++s) rest(s);
}
static bool next_dynamic(long *first, long *count) {
  loop &l = all.loops[me.loops % LOOPS];
  if (me.team < 2) *first = me.next, me.next += me.chunk;
  else *first = __atomic_fetch_add(&l.next, me.chunk, __ATOMIC_ACQ_REL);
  const long rest = me.trips - *first;
  *count = rest < me.chunk ? rest : me.chunk;
  if (rest > 0) return true;
  if (me.team > 1 && ADD(l.left, -1) == 0) {
    l.next = 0;
    l.left = me.team;
    SET(l.number, l.number + LOOPS);
  }
  ++me.loops;
  return false;
}
"""

# Once for every type of a loop's variable.
_LOOPS = r"""
extern "C" {
void __kmpc_for_static_init_@N@(void *, int, int how, int *last, @T@ *low, @T@ *high, @S@ *stride,
                               @S@ step, @S@ chunk) {
  const long n = trips((long)*low, (long)*high, step), team = me.team ? me.team : 1, t = me.thread;
  if (n == 0) {
    *last = 0;
    *stride = step;
  } else if ((how & 0xff) == 33) {  // chunks in turn
    if (chunk < 1) chunk = 1;
    *stride = (@S@)(chunk * step * team);
    *low = (@T@)(*low + chunk * step * t);
    *high = (@T@)(*low + (chunk - 1) * step);
    *last = (n - 1) / chunk % team == t;
  } else {
    const long few = n / team, more = n % team, first = t * few + (t < more ? t : more);
    const long count = few + (t < more);
    *stride = (@S@)(n * step);
    *low = (@T@)(count ? *low + first * step : *high + step);
    *high = (@T@)(count ? *low + (count - 1) * step : *high);
    *last = count && first + count == n;
  }
}
void __kmpc_dispatch_init_@N@(void *, int, int, @T@ low, @T@ high, @S@ step, @S@ chunk) {
  begin_dynamic((long)low, trips((long)low, (long)high, step), step, chunk);
}
int __kmpc_dispatch_next_@N@(void *, int, int *last, @T@ *low, @T@ *high, @S@ *stride) {
  long first, count;
  if (!next_dynamic(&first, &count)) return 0;
  *low = (@T@)(me.low + first * me.step);
  *high = (@T@)(me.low + (first + count - 1) * me.step);
  *stride = (@S@)me.step;
  *last = first + count == me.trips;
  return 1;
}
void __kmpc_dispatch_fini_@N@(void *, int) {}
}
"""


def team() -> Source:
    """The library that kernels are linked with."""
    text = (_STATE + _THREADS + _SHARES).replace("@TYPES@", ", void *" * _MOST)
    text = text.replace("@GIVEN@", "".join(f", a[{i}]" for i in range(_MOST)))
    for name, held, signed in (
        ("4", "int", "int"), ("4u", "unsigned", "int"),
        ("8", "long", "long"), ("8u", "unsigned long", "long"),
    ):  # fmt: skip
        text += _LOOPS.replace("@N@", name).replace("@T@", held).replace("@S@", signed)
    return Source("maquette_team", text.replace("@MOST@", str(_MOST)))
