// The sequential heart of the PyTorch scans: the recurrence and the contraction, without the cost of a Python step.
//
// Every rounding is that of the plain loop in quamba_lab/scans/torch_scan.py, in the same order:
//     drive = (dt * B) * u        h = decay * h + drive (a product, then a sum)        p = h * C        y = sum of p
// which needs -ffp-contract=off.  Transcendental functions stay with torch: `decay` comes as finished rows, either one
// per (b, d, t) or, because dt has 256 codes per channel, one per (d, code); recurrence_rows() tells which row a step
// takes.  The sum follows the order of torch.sum over a contiguous last dimension (four partial sums of vectors of
// `lanes` numbers, the remainder, then lane by lane); the caller compares that with torch.sum itself before use.
//
// Shapes: dt, u, y (b, d, l); B, C (b, g, l, n); h (b, d, n); all contiguous.  Channels first .. first + count.

#include <cstdint>
#include <cstring>
#include <vector>

namespace {

constexpr int kMostStates = 256;
constexpr int64_t kWorthThreads = 1 << 17;  // elements below which waking threads costs more than they save
constexpr int kSteps = 16;  // steps whose products wait for their sums: independent chains for the CPU to interleave

// The sum of p[0 .. n) in the order of torch.sum on the CPU.
template <typename T, int LANES>
inline T library_sum(const T* p, int n) {
    constexpr int kPartial = 4;
    T partial[kPartial][LANES] = {};
    const int vectors = n / LANES, whole = vectors / kPartial * kPartial;
    for (int i = 0; i < whole; i += kPartial)
        for (int k = 0; k < kPartial; ++k)
            for (int j = 0; j < LANES; ++j) partial[k][j] += p[(i + k) * LANES + j];
    for (int i = whole; i < vectors; ++i)
        for (int j = 0; j < LANES; ++j) partial[0][j] += p[i * LANES + j];
    for (int k = 1; k < kPartial; ++k)
        for (int j = 0; j < LANES; ++j) partial[0][j] += partial[k][j];
    if (LANES == 1) return partial[0][0];
    T total = 0;
    for (int i = vectors * LANES; i < n; ++i) total += p[i];
    for (int j = 0; j < LANES; ++j) total += partial[0][j];
    return total;
}

template <typename T, int LANES, int FIXED>
void channel(const int32_t* index, const T* rows, const T* dt, const T* u, const T* B, const T* C, T* h, T* y,
             int64_t l, int states) {
    const int n = FIXED ? FIXED : states;
    alignas(64) T state[FIXED ? FIXED : kMostStates] = {};
    alignas(64) T product[kSteps * (FIXED ? FIXED : kMostStates)];
    for (int64_t start = 0; start < l; start += kSteps) {
        const int steps = l - start < kSteps ? int(l - start) : kSteps;
        for (int s = 0; s < steps; ++s) {
            const int64_t t = start + s;
            const T* a = rows + (index ? int64_t(index[t]) : t) * n;
            const T *Bt = B + t * n, *Ct = C + t * n;
            const T step = dt[t], input = u[t];
            T* p = product + s * n;
            for (int k = 0; k < n; ++k) {
                const T drive = (step * Bt[k]) * input;
                state[k] = a[k] * state[k] + drive;
                p[k] = state[k] * Ct[k];
            }
        }
        for (int s = 0; s < steps; ++s) y[start + s] = library_sum<T, LANES>(product + s * n, n);
    }
    std::memcpy(h, state, sizeof(T) * n);
}

template <typename T, int LANES>
void recurrence(const int32_t* index, const T* rows, const T* dt, const T* u, const T* B, const T* C, T* h, T* y,
                int64_t b, int64_t d, int64_t l, int64_t g, int64_t n, int64_t first, int64_t count) {
    const int64_t per_group = d / g;
#pragma omp parallel for schedule(static) if (b * count * l * n > kWorthThreads)
    for (int64_t job = 0; job < b * count; ++job) {
        const int64_t item = job / count, block = item * count + job % count, c = first + job % count;
        const int64_t row = item * d + c, group = (item * g + c / per_group) * l * n;
        const int32_t* which = index ? index + block * l : nullptr;
        const T* own = index ? rows : rows + block * l * n;
        if (n == 16)
            channel<T, LANES, 16>(which, own, dt + row * l, u + row * l, B + group, C + group, h + row * n, y + row * l,
                                  l, 16);
        else
            channel<T, LANES, 0>(which, own, dt + row * l, u + row * l, B + group, C + group, h + row * n, y + row * l,
                                 l, int(n));
    }
}

// index (b, count, l): the row of every step.  table (count, 256): dt of every code of a channel.  A step whose dt is
// not the table's (softplus rounds differently at the ragged end of a tensor) gets a row of its own behind the table:
// its dt and channel go to `odd_dt` and `odd_channel`, at most `room` of them.  Returns how many there are.
template <typename T>
int64_t rows_of(const int8_t* codes, const T* dt, const T* table, int32_t* index, T* odd_dt, int64_t* odd_channel,
                int64_t room, int64_t b, int64_t d, int64_t l, int64_t first, int64_t count) {
    std::vector<int64_t> odd(b * count + 1, 0);
#pragma omp parallel for schedule(static) if (b * count * l > kWorthThreads)
    for (int64_t job = 0; job < b * count; ++job) {
        const int64_t c = job % count, row = (job / count) * d + first + c;
        int64_t different = 0;
        for (int64_t t = 0; t < l; ++t) {
            const int32_t at = int32_t(c) * 256 + codes[row * l + t] + 128;
            const bool same = std::memcmp(&dt[row * l + t], &table[at], sizeof(T)) == 0;
            index[job * l + t] = same ? at : -1;
            different += !same;
        }
        odd[job + 1] = different;
    }
    int64_t found = 0;
    for (int64_t job = 0; job < b * count; ++job) {
        if (!odd[job + 1]) continue;
        const int64_t c = job % count, row = (job / count) * d + first + c;
        for (int64_t t = 0; t < l; ++t) {
            if (index[job * l + t] >= 0) continue;
            if (found < room) {
                odd_dt[found] = dt[row * l + t];
                odd_channel[found] = c;
                index[job * l + t] = int32_t(count * 256 + found);
            }
            ++found;
        }
    }
    return found;
}

}  // namespace

// lanes: the width of the library's vectors, 1, 2, 4, 8 or 16.  Returns 0, or 1 for another width.
#define DEFINE(T, SUFFIX)                                                                                          \
    extern "C" int recurrence_##SUFFIX(int lanes, const int32_t* index, const T* rows, const T* dt, const T* u,        \
                                       const T* B, const T* C, T* h, T* y, int64_t b, int64_t d, int64_t l, int64_t g, \
                                       int64_t n, int64_t first, int64_t count) {                                      \
        if (n < lanes) lanes = 1;                                                                                      \
        switch (lanes) {                                                                                               \
            case 1: recurrence<T, 1>(index, rows, dt, u, B, C, h, y, b, d, l, g, n, first, count); return 0;           \
            case 2: recurrence<T, 2>(index, rows, dt, u, B, C, h, y, b, d, l, g, n, first, count); return 0;           \
            case 4: recurrence<T, 4>(index, rows, dt, u, B, C, h, y, b, d, l, g, n, first, count); return 0;           \
            case 8: recurrence<T, 8>(index, rows, dt, u, B, C, h, y, b, d, l, g, n, first, count); return 0;           \
            case 16: recurrence<T, 16>(index, rows, dt, u, B, C, h, y, b, d, l, g, n, first, count); return 0;         \
        }                                                                                                              \
        return 1;                                                                                                      \
    }                                                                                                                  \
    extern "C" int64_t recurrence_rows_##SUFFIX(const int8_t* codes, const T* dt, const T* table, int32_t* index,      \
                                                T* odd_dt, int64_t* odd_channel, int64_t room, int64_t b, int64_t d,   \
                                                int64_t l, int64_t first, int64_t count) {                             \
        return rows_of<T>(codes, dt, table, index, odd_dt, odd_channel, room, b, d, l, first, count);                  \
    }                                                                                                                  \
    extern "C" void library_sum_##SUFFIX(int lanes, const T* p, T* y, int64_t rows, int n) {                           \
        if (n < lanes) lanes = 1;                                                                                      \
        for (int64_t i = 0; i < rows; ++i, p += n)                                                                     \
            y[i] = lanes == 1   ? library_sum<T, 1>(p, n)                                                              \
                   : lanes == 2 ? library_sum<T, 2>(p, n)                                                              \
                   : lanes == 4 ? library_sum<T, 4>(p, n)                                                              \
                   : lanes == 8 ? library_sum<T, 8>(p, n)                                                              \
                                : library_sum<T, 16>(p, n);                                                            \
    }

DEFINE(float, f32)
DEFINE(double, f64)
