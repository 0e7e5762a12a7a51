// The published INT8 scan on the GPU: one block per (b, d), the tree of published.h.
//
// y of a large problem is written (b, d, l) and transposed by torch, as in the published layer: a block holds one
// channel, so writing (b, l, d) from here scatters two bytes at a time.  A small y is written (b, l, d): there a second
// launch costs more than the scattering.
// Built by NVRTC per partition with --use_fast_math (see scan_math.h).
#include "published.h"

namespace {

// Codes of one thread's items; zero past the end.  One wide load where the row's address allows it.
template <int kItems>
__device__ __forceinline__ void load_items(const int8_t *row, int first, int length, int8_t (&codes)[kItems]) {
    if (first + kItems <= length && reinterpret_cast<unsigned long long>(row) % kItems == 0) {
        if constexpr (kItems == 16) {
            *reinterpret_cast<int4 *>(codes) = *reinterpret_cast<const int4 *>(row + first);
        } else if constexpr (kItems == 8) {
            *reinterpret_cast<int2 *>(codes) = *reinterpret_cast<const int2 *>(row + first);
        } else {
            *reinterpret_cast<int *>(codes) = *reinterpret_cast<const int *>(row + first);
        }
    } else {
#pragma unroll
        for (int i = 0; i < kItems; ++i) codes[i] = first + i < length ? row[first + i] : int8_t(0);
    }
}

// The float16 bits of one thread's items; nothing past the end.
template <int kItems>
__device__ __forceinline__ void store_items(uint16_t *row, int first, int length, const uint16_t (&bits)[kItems]) {
    if (first + kItems <= length && reinterpret_cast<unsigned long long>(row) % 8 == 0) {
#pragma unroll
        for (int i = 0; i < kItems; i += 4) {
            *reinterpret_cast<int2 *>(row + first + i) = *reinterpret_cast<const int2 *>(bits + i);
        }
    } else {
#pragma unroll
        for (int i = 0; i < kItems; ++i) {
            if (first + i < length) row[first + i] = bits[i];
        }
    }
}

__device__ __forceinline__ Pair shuffle_up(Pair value, int offset) {
    return {__shfl_up_sync(0xFFFFFFFFu, value.a, offset), __shfl_up_sync(0xFFFFFFFFu, value.h, offset)};
}

}  // namespace

// 16 warps per SM: 128 registers, which the widest partition just fits.
template <int kThreads, int kItems, bool kTaps>
__global__ __launch_bounds__(kThreads, 512 / kThreads) void published_scan(const PublishedScan p) {
    constexpr int kWarps = kThreads / 32, kChunk = kThreads * kItems;
    // Two copies of each, used in turn, so that one barrier per state suffices.
    __shared__ Pair warp_totals[2][kWarps];
    __shared__ float carried[2][kMaxStates];  // the state after the chunk before

    const int d = blockIdx.x, b = blockIdx.y;
    const int thread = threadIdx.x, warp = thread / 32, lane = thread % 32;
    const int64_t row = (int64_t(b) * p.d + d) * p.l;
    const int64_t matrix = (int64_t(b) * p.g + d / (p.d / p.g)) * p.n * p.l;

    const float u_scale = *p.u_scale, dt_scale = *p.dt_scale, B_scale = *p.B_scale, C_scale = *p.C_scale;
    const float A_scale = *p.A_log_scale;
    const float D = p.D ? dequantize(*p.D_scale, p.D[d]) : 0.0f;
    const float bias = p.dt_bias ? dequantize(*p.dt_bias_scale, p.dt_bias[d]) : 0.0f;
    const float z_scale = p.z ? *p.z_scale : 0.0f;
    const float state_scale = p.state_scale ? *p.state_scale : 1.0f;

    int parity = 0, side = 0;
    for (int start = 0; start < p.l; start += kChunk, side ^= 1) {
        const int first = start + thread * kItems;
        alignas(16) int8_t codes[kItems];
        float dt[kItems], du[kItems], out[kItems], sum[kTaps ? kItems : 1];

        load_items<kItems>(p.dt + row, first, p.l, codes);
#pragma unroll
        for (int i = 0; i < kItems; ++i) {
            dt[i] = step_size(dt_scale, codes[i], bias);
            if (p.softplus) dt[i] = softplus(dt[i]);
        }
        load_items<kItems>(p.u + row, first, p.l, codes);
#pragma unroll
        for (int i = 0; i < kItems; ++i) {
            const float u = dequantize(u_scale, codes[i]);
            du[i] = dt[i] * u;
            out[i] = D * u;
            if constexpr (kTaps) {
                sum[i] = 0.0f;
                if (first + i < p.l) p.softplus_tap[row + first + i] = dt[i];
            }
        }

        for (int n = 0; n < p.n; ++n, parity ^= 1) {
            const float A = rate(A_scale, p.A_log[d * p.n + n]);
            alignas(16) int8_t B[kItems], C[kItems];
            load_items<kItems>(p.B + matrix + int64_t(n) * p.l, first, p.l, B);
            load_items<kItems>(p.C + matrix + int64_t(n) * p.l, first, p.l, C);

            Pair pairs[kItems];
#pragma unroll
            for (int i = 0; i < kItems; ++i) {
                pairs[i] = {exponential(dt[i] * A), dequantize(B_scale, B[i]) * du[i]};
            }
            if (first + kItems > p.l) {  // the end of the row falls among these items, or before them
#pragma unroll
                for (int i = 0; i < kItems; ++i) {
                    if (first + i >= p.l) pairs[i] = {1.0f, 0.0f};
                }
            }

            Pair total = pairs[0];  // 1: the thread's items
#pragma unroll
            for (int i = 1; i < kItems; ++i) total = combine(total, pairs[i]);
#pragma unroll
            for (int offset = 1; offset < 32; offset *= 2) {  // 2: the warp
                const Pair before = shuffle_up(total, offset);
                if (lane >= offset) total = combine(before, total);
            }
            Pair prefix = shuffle_up(total, 1);
            if (lane == 31) warp_totals[parity][warp] = total;
            __syncthreads();
            Pair block = warp_totals[parity][0], ahead = block;  // 3: the block
#pragma unroll
            for (int w = 1; w < kWarps; ++w) {
                if (warp == w) ahead = block;
                block = combine(block, warp_totals[parity][w]);
            }
            if (warp > 0) prefix = lane == 0 ? ahead : combine(ahead, prefix);
            const int64_t where = (int64_t(b) * p.d + d) * p.n + n;
            const float initial = p.initial_state ? p.initial_state[where] : 0.0f;
            const float carry = start ? carried[side][n] : initial;  // 4: the chunks before
            const float next = fused(block.a, carry, block.h);
            if (thread == 0) {
                carried[side ^ 1][n] = next;
                if (start + kChunk >= p.l) {
                    if (p.state_scale) {
                        static_cast<int8_t *>(p.state)[where] = state_code(next, state_scale);
                    } else {
                        static_cast<float *>(p.state)[where] = next;
                    }
                }
            }
            float h = thread == 0 ? carry : fused(prefix.a, carry, prefix.h);
#pragma unroll
            for (int i = 0; i < kItems; ++i) {  // 5: the items again
                h = fused(pairs[i].a, h, pairs[i].h);
                const float c = dequantize(C_scale, C[i]);
                out[i] = fused(h, c, out[i]);
                if constexpr (kTaps) {
                    sum[i] = fused(h, c, sum[i]);
                    if (first + i < p.l) {
                        const int64_t at = (row + first + i) * p.n + n;
                        p.decay_tap[at] = pairs[i].a;
                        p.drive_tap[at] = pairs[i].h;
                        p.state_tap[at] = h;
                    }
                }
            }
        }

        alignas(8) uint16_t bits[kItems];
        if (p.z) load_items<kItems>(p.z + row, first, p.l, codes);
#pragma unroll
        for (int i = 0; i < kItems; ++i) {
            const float value = p.z ? gated(out[i], dequantize(z_scale, codes[i])) : out[i];
            bits[i] = half_bits(value);
            if constexpr (kTaps) {
                if (first + i < p.l) {
                    p.contraction_tap[row + first + i] = sum[i];
                    p.skip_tap[row + first + i] = out[i];
                    p.gate_tap[row + first + i] = value;
                }
            }
        }
        if (p.y_sequence_last) {
            store_items<kItems>(p.y + row, first, p.l, bits);
        } else {
            uint16_t *column = p.y + int64_t(b) * p.l * p.d + d;
#pragma unroll
            for (int i = 0; i < kItems; ++i) {
                if (first + i < p.l) column[int64_t(first + i) * p.d] = bits[i];
            }
        }
    }
}

#ifndef __CUDACC_RTC__
// Compiled ahead of time only to see that it compiles: the same instantiations that are built at run time.
#define INSTANTIATE(threads, items)                                         \
    template __global__ void published_scan<threads, items, false>(const PublishedScan); \
    template __global__ void published_scan<threads, items, true>(const PublishedScan);
INSTANTIATE(32, 4)
INSTANTIATE(32, 8)
INSTANTIATE(32, 16)
INSTANTIATE(64, 16)
INSTANTIATE(128, 16)
#endif
