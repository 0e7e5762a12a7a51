// The published INT8 scan: its arguments, its partition of time, and the operator of its prefix scan.
//
// Per (b, d, n) the recurrence is a prefix scan over t of pairs (decay, drive) under
//
//     (a0, h0) then (a1, h1)  =  (a1 a0,  a1 h0 + h1)                                   (combine)
//
// in a fixed tree.  A block of `threads` threads takes chunks of threads * items steps; each step:
//
//   1  a thread reduces its `items` consecutive pairs, left to right
//   2  a warp of 32 scans the threads' totals (Kogge and Stone: offsets 1, 2, 4, 8, 16)
//   3  warp totals are chained left to right; warp w > 0 puts the chain before it in front of its threads' prefixes
//   4  the state carried from the chunk before is put in front of every prefix
//   5  a thread runs through its items again, starting from its prefix
//
// The tree depends on the length through (threads, items) only: see partition().  Positions past the end hold (1, 0).
#pragma once
#include "scan_math.h"

struct Pair {
    float a, h;
};

// `first` precedes `second` in time.
CPU_GPU Pair combine(Pair first, Pair second) {
    return {second.a * first.a, fused(second.a, first.h, second.h)};
}

// Everything a scan reads and writes.  Scales are read through pointers, so a launch never waits for their values.
// Absent operands are null.  `state` is int8 when state_scale is given, else float32.  Taps may be null together.
struct PublishedScan {
    const int8_t *u, *dt, *B, *C, *z, *A_log, *D, *dt_bias;  // (b,d,l) x2, (b,g,n,l) x2, (b,d,l), (d,n), (d) x2
    const float *u_scale, *dt_scale, *B_scale, *C_scale, *z_scale, *A_log_scale, *D_scale, *dt_bias_scale;
    const float *state_scale;
    const float *initial_state;                 // (b, d, n), null for a sequence's start
    uint16_t *y;                                // float16 (b, l, d), or (b, d, l) if y_sequence_last
    void *state;                                // (b, d, n)
    float *softplus_tap;                        // (b, d, l)
    float *decay_tap, *drive_tap, *state_tap;   // (b, d, l, n)
    float *contraction_tap, *skip_tap, *gate_tap;  // (b, d, l)
    int b, d, l, n, g, softplus;
    int y_sequence_last;  // GPU only
};

constexpr int kMaxStates = 256;
