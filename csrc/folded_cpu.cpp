// The `folded` scan on a CPU: a table of decays per channel, lanes over the states, FP32 state, FP64 at the edges.
//
// Notation and formulas as in folded.h.  What is special to the CPU:
//
// * dt has 256 codes, so the decays exp2(dt rate) are a table of 256 x n floats per channel, built in FP64 and rounded
//   once.  A decay from 1/2 to 1 is held MINUS ONE: as such it would err by up to 2^-25, which every later step inherits,
//   while decay - 1 keeps all its digits; the step is h + fma(decay - 1, h, (dt u_q) B_q).  Any other decay is held as
//   it is, fma(decay, h, (dt u_q) B_q), for there the difference would cancel.  The sign of the entry tells which.
// * Sixteen states are one AVX-512 register or two AVX2 ones; four channels take turns to hide each other's latency;
//   sixteen steps wait for their sums over n, which then share one tree of shuffles (vector16.h).
// * The bracket, the skip and the gate are FP64, rounded once to FP16.
// * A job is a tile of channels with its tables (they stay in the second-level cache) and a part of the batch.  Every
//   (batch, channel) is computed alone and in order, so neither threads, batch nor later tokens change a bit of y.
//
// Shapes: u, dt, z (b, d, l); B, C (b, g, n, l); A_log (d, n); D, bias (d); y (b, l, d); initial, last (b, d, n) in
// units of s_B s_u.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "folded_tables.h"
#include "vector16.h"

#if defined(_OPENMP)
#include <omp.h>
#endif

namespace {

using namespace vector16;
using folded::kCodes;

constexpr int kSteps = 16;       // steps that share one tree of sums
constexpr int kTogether = 4;     // channels that take turns
constexpr int kMostTile = 32;    // channels of a job: one cache line of y
constexpr int64_t kWorthThreads = 1 << 18;  // elements below which waking threads costs more than they save
constexpr int kTableBytes = 1 << 19;
constexpr int kBlockBytes = 1 << 14;  // of B, and as much of C, converted at a time
constexpr int8_t kNoCodes[16] = {};
constexpr int kPitch = kBlockBytes / 64;  // steps of a block at most

struct Scales {
    double u, dt, B, C, z, A_log, D, bias;  // u: 1 when u is float32
};

struct Taps {  // each null, or float64 in real units
    double *dt, *decay, *drive, *state, *contraction, *skip, *gate;
};

struct Problem {
    const int8_t* u;
    const float* u_float;  // instead of u
    const int8_t *dt, *B, *C, *z, *A_log, *D, *bias;
    const float* initial;
    Scales scale;
    uint16_t* y;
    float* last;
    Taps taps;
    int64_t b, d, l, n, g;
    bool softplus;
    int64_t width;       // n rounded up to whole rows of sixteen
    const int8_t *Bt, *Ct;  // (b, g, l, width), zero beyond n
    const double* gates;    // (256) by code of z; without z all of them are that of no gate
};

struct Free {
    void operator()(void* p) const { std::free(p); }
};
template <typename T>
using Buffer = std::unique_ptr<T[], Free>;
template <typename T>
Buffer<T> buffer(int64_t count) {
    return Buffer<T>(static_cast<T*>(std::aligned_alloc(64, (count * sizeof(T) + 63) / 64 * 64)));
}

// codes (n, l) -> rows (l, width), so that a step's B or C is one load.
void transpose(const int8_t* codes, int8_t* rows, int64_t n, int64_t l, int64_t width) {
    for (int64_t t0 = 0; t0 < l; t0 += 64) {
        const int64_t t1 = std::min(l, t0 + 64);
        for (int64_t t = t0; t < t1; ++t) std::memset(rows + t * width, 0, width);
        for (int64_t k = 0; k < n; ++k)
            for (int64_t t = t0; t < t1; ++t) rows[t * width + k] = codes[k * l + t];
    }
}

// ------------------------------------------------------------------------------------------------------ the recurrence

struct Lanes {  // the channels that take turns, over one block of steps; every array holds one after the other
    const int8_t* const* dt;            // (K) rows of codes
    const float *input, *step, *decay;  // u_q (K, kPitch); the tables of dt (K, 256) and of decays (K, 256, width)
    float *state, *sums;                // (K, width); (K, kPitch)
    const int64_t* position;            // (K): (item * d + channel) * l + the block's first step, for the taps
};

// `steps` steps of K channels.  ROWS: rows of sixteen states, 0 for a number known at run time only.
template <int K, int ROWS, bool TAPS>
void recurrence(const Problem& q, const Lanes& lanes, const float* B, const float* C, int64_t steps) {
    const int rows = ROWS ? ROWS : int(q.width / 16), width = rows * 16;
    constexpr int kHeld = ROWS ? ROWS : 16;
    Row h[K][kHeld];
    for (int k = 0; k < K; ++k)
        for (int r = 0; r < rows; ++r) h[k][r] = load(lanes.state + k * width + r * 16);
    const float *step_of = lanes.step + kCodes / 2, *decay_of = lanes.decay + kCodes / 2 * width;  // of code 0
    const auto one = [&](int k, int64_t t) {
        const int64_t code = lanes.dt[k][t];
        const float* decay = decay_of + k * kCodes * width + code * width;
        const Row input = spread((step_of + k * kCodes)[code] * lanes.input[k * kPitch + t]);
        Row sum = zero();
        for (int r = 0; r < rows; ++r) {
            const Row drive = mul(input, load(B + t * width + r * 16));
            const Row factor = load(decay + r * 16);
            h[k][r] = add_where_negative(factor, fma(factor, h[k][r], drive), h[k][r]);
            const Row weight = load(C + t * width + r * 16);
            sum = r ? fma(h[k][r], weight, sum) : mul(h[k][r], weight);
            if (TAPS) {
                alignas(64) float driven[16], state[16];
                store(driven, drive), store(state, h[k][r]);
                const double unit = q.scale.B * q.scale.u;
                const int64_t at = (lanes.position[k] + t) * q.n + r * 16;
                for (int j = 0; j < 16 && r * 16 + j < q.n; ++j) {
                    q.taps.decay[at + j] = folded::decay_of(decay[r * 16 + j]);
                    q.taps.drive[at + j] = driven[j] * unit;
                    q.taps.state[at + j] = state[j] * unit;
                }
            }
        }
        return sum;
    };
    Pair pairs[K][kSteps / 2];
    const auto sixteen = [&](int64_t start, int count) {
        for (int s = 0; s < kSteps; s += 2)
#pragma GCC unroll 4
            for (int k = 0; k < K; ++k) {  // unrolled, so that the states stay in registers
                const Row first = s < count ? one(k, start + s) : zero();
                pairs[k][s / 2] = join(first, s + 1 < count ? one(k, start + s + 1) : zero());
            }
        for (int k = 0; k < K; ++k) sum16(pairs[k], lanes.sums + k * kPitch + start);
    };
    int64_t t = 0;
    for (; t + kSteps <= steps; t += kSteps) sixteen(t, kSteps);
    if (t < steps) sixteen(t, int(steps - t));
    for (int k = 0; k < K; ++k)
        for (int r = 0; r < rows; ++r) store(lanes.state + k * width + r * 16, h[k][r]);
}

template <int K, bool TAPS>
void recurrence(const Problem& q, const Lanes& lanes, const float* B, const float* C, int64_t steps) {
    if (q.width == 16)
        recurrence<K, 1, TAPS>(q, lanes, B, C, steps);
    else
        recurrence<K, 0, TAPS>(q, lanes, B, C, steps);
}

// ------------------------------------------------------------------------------------------------------------ one job

struct Scratch {  // of one thread
    Buffer<float> decay, step, state, B, C, input, sums;
    Buffer<uint16_t> half, tile;
    int64_t block;  // steps at a time

    Scratch(const Problem& q, int64_t channels) {
        block = std::max<int64_t>(kSteps, kBlockBytes / (q.width * 4) / kSteps * kSteps);
        decay = buffer<float>(channels * kCodes * q.width), step = buffer<float>(channels * kCodes);
        state = buffer<float>(channels * q.width);
        B = buffer<float>(block * q.width), C = buffer<float>(block * q.width);
        input = buffer<float>(kTogether * kPitch), sums = buffer<float>(kTogether * kPitch);
        half = buffer<uint16_t>(kTogether * kPitch), tile = buffer<uint16_t>(block * channels);
    }
};

// Bracket, skip, gate and cast of one channel over one block: sums -> half.
template <bool TAPS>
void finish(const Problem& q, int64_t c, int64_t position, const float* sums, const float* input, int64_t steps,
            uint16_t* half) {
    const double skip = q.D ? folded::skip(q.scale.D * q.D[c], q.scale.B, q.scale.C) : 0.0;
    const double* gate = q.gates + kCodes / 2;  // of code 0
    const int8_t* code = q.z ? q.z + position : kNoCodes;
    int64_t t = 0;
    for (; t + 16 <= steps; t += 16)
        store_gated(half + t, sums + t, input + t, skip, gate, q.z ? code + t : kNoCodes);
    if (t < steps) {
        int8_t rest[16] = {};
        if (q.z) std::memcpy(rest, code + t, steps - t);
        store_gated(half + t, sums + t, input + t, skip, gate, rest);
    }
    if (TAPS) {
        const double plain = q.scale.B * q.scale.C * q.scale.u;
        for (t = 0; t < steps; ++t) {
            const double bracket = sums[t] + skip * input[t];
            q.taps.contraction[position + t] = sums[t] * plain;
            q.taps.skip[position + t] = bracket * plain;
            q.taps.gate[position + t] = bracket * gate[q.z ? code[t] : 0];
        }
    }
}

// Columns of float16 into the tile (steps, channels): four channels as 8-byte numbers, or one by itself.
void place(const uint16_t* half, int64_t pitch, int together, int64_t steps, uint16_t* tile, int64_t channels) {
    static_assert(kTogether == 4, "four float16 make one 8-byte number");
    int64_t t = 0;
    if (together == kTogether)
        for (; t + 16 <= steps; t += 16) store_columns4(half + t, pitch, tile + t * channels, channels);
    for (; t < steps; ++t)
        for (int k = 0; k < together; ++k) tile[t * channels + k] = half[k * pitch + t];
}

// The tile's rows to their places in y, `pitch` apart.
void copy_rows(const uint16_t* tile, int64_t channels, int64_t steps, uint16_t* y, int64_t pitch) {
    if (channels == 32)  // of a constant size, so that no function is called
        for (int64_t t = 0; t < steps; ++t) std::memcpy(y + t * pitch, tile + t * 32, 64);
    else
        for (int64_t t = 0; t < steps; ++t) std::memcpy(y + t * pitch, tile + t * channels, channels * 2);
}

template <bool TAPS>
void job(const Problem& q, int64_t c0, int64_t channels, int64_t first, int64_t last, Scratch& own) {
    const int64_t group = c0 / (q.d / q.g), width = q.width;
    for (int64_t i = 0; i < channels; ++i) {
        const int64_t c = c0 + i;
        const folded::CodesInUse codes(q.dt + (first * q.d + c) * q.l, q.d * q.l, last - first, q.l);
        folded::channel_tables({q.scale.dt, q.scale.bias, q.scale.A_log, q.softplus}, q.bias ? q.bias + c : nullptr,
                               q.A_log + c * q.n, q.n, width, codes, own.step.get() + i * kCodes,
                               own.decay.get() + i * kCodes * width);
    }
    for (int64_t item = first; item < last; ++item) {
        std::fill(own.state.get(), own.state.get() + channels * width, 0.0f);
        if (q.initial)
            for (int64_t i = 0; i < channels; ++i)
                std::memcpy(own.state.get() + i * width, q.initial + (item * q.d + c0 + i) * q.n, q.n * sizeof(float));
        for (int64_t start = 0; start < q.l; start += own.block) {
            const int64_t steps = std::min(own.block, q.l - start);
            const int64_t rows = ((item * q.g + group) * q.l + start) * width;
            for (int64_t i = 0; i < steps * width; i += 16) {
                store(own.B.get() + i, load_bytes(q.Bt + rows + i));
                store(own.C.get() + i, load_bytes(q.Ct + rows + i));
            }
            for (int64_t i = 0; i < channels;) {
                const int together = channels - i >= kTogether ? kTogether : 1;
                int64_t position[kTogether];
                const int8_t* dt[kTogether];
                for (int k = 0; k < together; ++k) {
                    position[k] = (item * q.d + c0 + i + k) * q.l + start;
                    dt[k] = q.dt + position[k];
                    float* input = own.input.get() + k * kPitch;
                    if (q.u)
                        for (int64_t t = 0; t < steps; ++t) input[t] = float(q.u[position[k] + t]);
                    else
                        std::memcpy(input, q.u_float + position[k], steps * sizeof(float));
                    if (TAPS)
                        for (int64_t t = 0; t < steps; ++t)
                            q.taps.dt[position[k] + t] = own.step[(i + k) * kCodes + 128 + dt[k][t]];
                }
                const Lanes lanes{dt, own.input.get(), own.step.get() + i * kCodes,
                                  own.decay.get() + i * kCodes * width, own.state.get() + i * width, own.sums.get(),
                                  position};
                if (together == kTogether)
                    recurrence<kTogether, TAPS>(q, lanes, own.B.get(), own.C.get(), steps);
                else
                    recurrence<1, TAPS>(q, lanes, own.B.get(), own.C.get(), steps);
                for (int k = 0; k < together; ++k)
                    finish<TAPS>(q, c0 + i + k, position[k], own.sums.get() + k * kPitch, own.input.get() + k * kPitch,
                                 steps, own.half.get() + k * kPitch);
                place(own.half.get(), kPitch, together, steps, own.tile.get() + i, channels);
                i += together;
            }
            copy_rows(own.tile.get(), channels, steps, q.y + (item * q.l + start) * q.d + c0, q.d);
        }
        for (int64_t i = 0; i < channels; ++i)
            std::memcpy(q.last + (item * q.d + c0 + i) * q.n, own.state.get() + i * width, q.n * sizeof(float));
    }
}

template <bool TAPS>
void scan(Problem& q) {
    const int64_t rows = q.b * q.g;
    Buffer<int8_t> Bt = buffer<int8_t>(rows * q.l * q.width), Ct = buffer<int8_t>(rows * q.l * q.width);
    alignas(64) double gates[256];
    for (int code = 0; code < 256; ++code)
        gates[code] = q.z ? folded::gate(q.scale.z * (code - 128), q.scale.B, q.scale.C, q.scale.u)
                          : q.scale.B * q.scale.C * q.scale.u;
    q.Bt = Bt.get(), q.Ct = Ct.get(), q.gates = gates;

    const int64_t fitting = kTableBytes / (kCodes * q.width * 4) / kTogether * kTogether;
    const int64_t tile = std::clamp<int64_t>(fitting, kTogether, kMostTile), per_group = q.d / q.g;
    const int64_t tiles = (per_group + tile - 1) / tile, columns = tiles * q.g;
#if defined(_OPENMP)
    const int64_t wanted = 4 * omp_get_max_threads();
#else
    const int64_t wanted = 1;
#endif
    const int64_t parts = std::clamp<int64_t>((wanted + columns - 1) / columns, 1, q.b);

#pragma omp parallel if (q.b * q.d * q.l * q.width > kWorthThreads)
    {
#pragma omp for schedule(static)
        for (int64_t i = 0; i < rows; ++i) {
            transpose(q.B + i * q.n * q.l, Bt.get() + i * q.l * q.width, q.n, q.l, q.width);
            transpose(q.C + i * q.n * q.l, Ct.get() + i * q.l * q.width, q.n, q.l, q.width);
        }
        Scratch own(q, tile);
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < columns * parts; ++i) {
            const int64_t column = i / parts, part = i % parts;
            const int64_t first = column % tiles * tile, count = std::min(tile, per_group - first);
            job<TAPS>(q, column / tiles * per_group + first, count, q.b * part / parts, q.b * (part + 1) / parts, own);
        }
    }
}

}  // namespace

// operands: u (or null), u_float (or null), dt, B, C, z, A_log, D, bias, initial; absent ones null.  scales: the eight of
// Scales.  taps: null, or the seven of Taps.  sizes: b, d, l, n, g.
extern "C" void folded_cpu(const void* const* operands, const double* scales, uint16_t* y, float* last,
                           double* const* taps, const int64_t* sizes, int softplus) {
    const auto codes = [&](int i) { return static_cast<const int8_t*>(operands[i]); };
    const auto floats = [&](int i) { return static_cast<const float*>(operands[i]); };
    Problem q{codes(0), floats(1), codes(2), codes(3), codes(4), codes(5), codes(6), codes(7), codes(8), floats(9),
              {}, y, last, {}, sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], softplus != 0,
              (sizes[3] + 15) / 16 * 16, nullptr, nullptr, nullptr};
    q.scale = {scales[0], scales[1], scales[2], scales[3], scales[4], scales[5], scales[6], scales[7]};
    if (taps) {
        q.taps = {taps[0], taps[1], taps[2], taps[3], taps[4], taps[5], taps[6]};
        scan<true>(q);
    } else {
        scan<false>(q);
    }
}
