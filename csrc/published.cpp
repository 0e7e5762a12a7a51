// The published INT8 scan on the host: the tree of published.h walked in the same order, with standard math.
//
// What a GPU block does with its threads side by side is here a loop over arrays indexed [item][thread], which the
// compiler turns into vector code.  B and C of a group are dequantized and laid out that way once per chunk and shared
// by the channels of a tile.  Channels are independent, so the number of OpenMP threads changes nothing in the result.
#include "published.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <vector>

namespace {

constexpr int kTile = 16;  // channels that share one dequantized copy of B and C

template <int kThreads, int kItems>
struct Chunk {
    static constexpr int kWarps = kThreads / 32, kSize = kThreads * kItems;
    // [item][thread]; step t of the chunk is thread t / kItems, item t % kItems
    alignas(64) float dt[kItems][kThreads], du[kItems][kThreads], out[kItems][kThreads], sum[kItems][kThreads];
    alignas(64) float decay[kItems][kThreads], drive[kItems][kThreads], state[kItems][kThreads];
    alignas(64) float total_a[kThreads], total_h[kThreads], before_a[kThreads], before_h[kThreads];
    alignas(64) float prefix[kThreads];
    float carried[kTile][kMaxStates];
    std::vector<float> B, C;  // [n][item][thread]

    static int item(int t) { return t % kItems; }
    static int thread(int t) { return t / kItems; }
};

// Codes of a row into [item][thread] as scale * code, zero past the end.
template <int kThreads, int kItems>
void spread(const int8_t *row, float scale, int count, float *to) {
    for (int thread = 0; thread < kThreads; ++thread) {
        for (int i = 0; i < kItems; ++i) {
            const int t = thread * kItems + i;
            to[i * kThreads + thread] = t < count ? dequantize(scale, row[t]) : 0.0f;
        }
    }
}

// Steps 1 to 5 of published.h for one state: the states of a chunk from its decays and drives.  Returns the new carry.
template <int kThreads, int kItems>
float scan_chunk(Chunk<kThreads, kItems> &w, float carry) {
    constexpr int kWarps = kThreads / 32;
    for (int t = 0; t < kThreads; ++t) {  // 1: each thread's items
        float a = w.decay[0][t], h = w.drive[0][t];
        for (int i = 1; i < kItems; ++i) {
            h = fused(w.decay[i][t], h, w.drive[i][t]);
            a = w.decay[i][t] * a;
        }
        w.total_a[t] = a;
        w.total_h[t] = h;
    }
    for (int offset = 1; offset < 32; offset *= 2) {  // 2: each warp
        std::memcpy(w.before_a, w.total_a, sizeof w.total_a);  // of a constant size, so no call
        std::memcpy(w.before_h, w.total_h, sizeof w.total_h);
        for (int warp = 0; warp < kThreads; warp += 32) {
            for (int lane = offset; lane < 32; ++lane) {
                const int t = warp + lane;
                w.total_h[t] = fused(w.before_a[t], w.before_h[t - offset], w.before_h[t]);
                w.total_a[t] = w.before_a[t] * w.before_a[t - offset];
            }
        }
    }
    Pair block = {w.total_a[31], w.total_h[31]};
    w.prefix[0] = carry;
    for (int t = 1; t < 32; ++t) w.prefix[t] = fused(w.total_a[t - 1], carry, w.total_h[t - 1]);
    for (int warp = 1; warp < kWarps; ++warp) {  // 3 and 4: the warps before, then the chunks before
        const int base = 32 * warp;
        w.prefix[base] = fused(block.a, carry, block.h);
        for (int t = base + 1; t < base + 32; ++t) {
            const float a = w.total_a[t - 1] * block.a;
            const float h = fused(w.total_a[t - 1], block.h, w.total_h[t - 1]);
            w.prefix[t] = fused(a, carry, h);
        }
        block = combine(block, {w.total_a[base + 31], w.total_h[base + 31]});
    }
    for (int t = 0; t < kThreads; ++t) {  // 5: the items again
        float h = w.prefix[t];
        for (int i = 0; i < kItems; ++i) {
            h = fused(w.decay[i][t], h, w.drive[i][t]);
            w.state[i][t] = h;
        }
    }
    return fused(block.a, carry, block.h);
}

template <int kThreads, int kItems, bool kTaps>
void channel_chunk(const PublishedScan &p, Chunk<kThreads, kItems> &w, const float *steps, const float *silu_z, int b,
                   int d, int slot, int start) {
    constexpr int kSize = kThreads * kItems;
    const int count = std::min(kSize, p.l - start);
    const int64_t row = (int64_t(b) * p.d + d) * p.l + start;
    const float D = p.D ? dequantize(*p.D_scale, p.D[d]) : 0.0f;
    const float u_scale = *p.u_scale;

    float *dt = &w.dt[0][0], *du = &w.du[0][0], *out = &w.out[0][0], *sum = &w.sum[0][0];
    float *decay = &w.decay[0][0], *drive = &w.drive[0][0], *state = &w.state[0][0];
    if (count < kSize) {
        std::fill(dt, dt + kSize, 0.0f);
        std::fill(du, du + kSize, 0.0f);
        std::fill(out, out + kSize, 0.0f);
    }
    for (int t = 0; t < count; ++t) {
        const int at = Chunk<kThreads, kItems>::item(t) * kThreads + Chunk<kThreads, kItems>::thread(t);
        const float step = steps[p.dt[row + t] + 128];
        const float u = dequantize(u_scale, p.u[row + t]);
        dt[at] = step;
        du[at] = step * u;
        out[at] = D * u;
        if constexpr (kTaps) p.softplus_tap[row + t] = step;
    }
    if constexpr (kTaps) std::fill(sum, sum + kSize, 0.0f);

    for (int n = 0; n < p.n; ++n) {
        const float A = rate(*p.A_log_scale, p.A_log[int64_t(d) * p.n + n]);
        const float *B = w.B.data() + size_t(n) * kSize, *C = w.C.data() + size_t(n) * kSize;
        for (int k = 0; k < kSize; ++k) {
            decay[k] = exp_standard(dt[k] * A);
            drive[k] = B[k] * du[k];
        }
        if (count < kSize && !(A >= -std::numeric_limits<float>::max())) {
            for (int t = count; t < kSize; ++t) {  // 0 * A is not 0: put the padding's (1, 0) there
                const int at = Chunk<kThreads, kItems>::item(t) * kThreads + Chunk<kThreads, kItems>::thread(t);
                decay[at] = 1.0f;
            }
        }
        w.carried[slot][n] = scan_chunk(w, w.carried[slot][n]);
        for (int k = 0; k < kSize; ++k) out[k] = fused(state[k], C[k], out[k]);
        if constexpr (kTaps) {
            for (int k = 0; k < kSize; ++k) sum[k] = fused(state[k], C[k], sum[k]);
            for (int t = 0; t < count; ++t) {
                const int at = Chunk<kThreads, kItems>::item(t) * kThreads + Chunk<kThreads, kItems>::thread(t);
                const int64_t where = (row + t) * p.n + n;
                p.decay_tap[where] = decay[at];
                p.drive_tap[where] = drive[at];
                p.state_tap[where] = state[at];
            }
        }
        if (start + kSize >= p.l) {
            const int64_t where = (int64_t(b) * p.d + d) * p.n + n;
            if (p.state_scale) {
                static_cast<int8_t *>(p.state)[where] = state_code(w.carried[slot][n], *p.state_scale);
            } else {
                static_cast<float *>(p.state)[where] = w.carried[slot][n];
            }
        }
    }

    for (int t = 0; t < count; ++t) {
        const int at = Chunk<kThreads, kItems>::item(t) * kThreads + Chunk<kThreads, kItems>::thread(t);
        float value = out[at];
        if (p.z) {
            const int code = p.z[row + t] + 128;
            value = value * silu_z[code] / silu_z[256 + code];
        }
        p.y[(int64_t(b) * p.l + start + t) * p.d + d] = half_bits(value);
        if constexpr (kTaps) {
            p.contraction_tap[row + t] = sum[at];
            p.skip_tap[row + t] = out[at];
            p.gate_tap[row + t] = value;
        }
    }
}

// dt after softplus of a channel by code, for the codes that its batch holds: the formula once per code.
void step_table(const PublishedScan &p, int d, float *steps) {
    const float bias = p.dt_bias ? dequantize(*p.dt_bias_scale, p.dt_bias[d]) : 0.0f;
    bool used[256] = {};
    for (int b = 0; b < p.b; ++b) {
        const int8_t *dt = p.dt + (int64_t(b) * p.d + d) * p.l;
        for (int t = 0; t < p.l; ++t) used[dt[t] + 128] = true;
    }
    for (int code = 0; code < 256; ++code) {
        if (!used[code]) continue;
        const float raw = step_size(*p.dt_scale, static_cast<int8_t>(code - 128), bias);
        steps[code] = p.softplus ? softplus(raw) : raw;
    }
}

template <int kThreads, int kItems, bool kTaps>
void scan(const PublishedScan &p, int threads) {
    using Work = Chunk<kThreads, kItems>;
    constexpr int kSize = kThreads * kItems;
    const int per_group = p.d / p.g, tiles = (per_group + kTile - 1) / kTile;
    const int64_t jobs = int64_t(p.b) * p.g * tiles;
    float silu_z[512];  // numerator and denominator of the gate by code of z (see gated() in scan_math.h)
    for (int code = -128; p.z && code < 128; ++code) {
        const float z = dequantize(*p.z_scale, static_cast<int8_t>(code));
        silu_z[code + 128] = z;
        silu_z[256 + code + 128] = 1.0f + exponential(-z);
    }
    std::vector<float> steps(size_t(p.d) * 256);
#pragma omp parallel num_threads(threads)
    {
#pragma omp for schedule(static)
        for (int d = 0; d < p.d; ++d) step_table(p, d, steps.data() + int64_t(d) * 256);
        const auto work = std::make_unique<Work>();
        work->B.resize(size_t(p.n) * kSize);
        work->C.resize(size_t(p.n) * kSize);
#pragma omp for schedule(dynamic, 1)
        for (int64_t job = 0; job < jobs; ++job) {
            const int tile = static_cast<int>(job % tiles);
            const int64_t batch_group = job / tiles;
            const int b = static_cast<int>(batch_group / p.g), g = static_cast<int>(batch_group % p.g);
            const int first = g * per_group + tile * kTile, last = std::min(first + kTile, (g + 1) * per_group);
            for (int d = first; d < last; ++d) {
                for (int n = 0; n < p.n; ++n) {
                    const int64_t where = (int64_t(b) * p.d + d) * p.n + n;
                    work->carried[d - first][n] = p.initial_state ? p.initial_state[where] : 0.0f;
                }
            }
            for (int start = 0; start < p.l; start += kSize) {
                const int count = std::min(kSize, p.l - start);
                for (int n = 0; n < p.n; ++n) {
                    const int64_t from = (batch_group * p.n + n) * p.l + start;
                    spread<kThreads, kItems>(p.B + from, *p.B_scale, count, work->B.data() + size_t(n) * kSize);
                    spread<kThreads, kItems>(p.C + from, *p.C_scale, count, work->C.data() + size_t(n) * kSize);
                }
                for (int d = first; d < last; ++d) {
                    channel_chunk<kThreads, kItems, kTaps>(p, *work, steps.data() + int64_t(d) * 256, silu_z, b, d,
                                                           d - first, start);
                }
            }
        }
    }
}

template <int kThreads, int kItems>
void pick_taps(const PublishedScan &p, int threads) {
    p.gate_tap ? scan<kThreads, kItems, true>(p, threads) : scan<kThreads, kItems, false>(p, threads);
}

}  // namespace

extern "C" {

// Runs the scan with (block_threads, items) of the partition; 0, or 1 for a partition that does not exist.
int published_scan(const PublishedScan *p, int block_threads, int items, int threads) {
    if (block_threads == 32 && items == 4) {
        pick_taps<32, 4>(*p, threads);
    } else if (block_threads == 32 && items == 8) {
        pick_taps<32, 8>(*p, threads);
    } else if (block_threads == 32 && items == 16) {
        pick_taps<32, 16>(*p, threads);
    } else if (block_threads == 64 && items == 16) {
        pick_taps<64, 16>(*p, threads);
    } else if (block_threads == 128 && items == 16) {
        pick_taps<128, 16>(*p, threads);
    } else {
        return 1;
    }
    return 0;
}

// For tests of the host's own arithmetic: exp and the float16 rounding over arrays.
void standard_exponentials(const float *x, float *y, int64_t count) {
    for (int64_t i = 0; i < count; ++i) y[i] = exp_standard(x[i]);
}

void half_roundings(const float *x, uint16_t *y, int64_t count) {
    for (int64_t i = 0; i < count; ++i) y[i] = half_bits(x[i]);
}

int published_size() { return static_cast<int>(sizeof(PublishedScan)); }
}
