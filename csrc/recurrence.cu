// The states of the PyTorch scans on a GPU, one thread per (b, d, n), sequential in t.
//
// Every rounding is that of the plain loop in quamba_lab/scans/torch_scan.py: drive = (dt * B) * u, then
// h = decay * h + drive as a product and a sum (the __f*_rn and __d*_rn functions are never contracted).  Decays come
// from torch's own exp and the sum over n stays with torch, so that both are the library's.
//
// Shapes, contiguous: decay (b, c, l, n), overwritten by h * C; dt, u (b, d, l); B, C (b, g, l, n); last (b, d, n).

__device__ inline float product(float a, float b) { return __fmul_rn(a, b); }
__device__ inline double product(double a, double b) { return __dmul_rn(a, b); }
__device__ inline float sum(float a, float b) { return __fadd_rn(a, b); }
__device__ inline double sum(double a, double b) { return __dadd_rn(a, b); }

constexpr int kAhead = 8;  // steps whose operands are loaded before the first of them is used

template <typename T>
__global__ void recurrence(T* __restrict__ decay, const T* __restrict__ dt, const T* __restrict__ u,
                           const T* __restrict__ B, const T* __restrict__ C, T* __restrict__ last, int b, int d, int l,
                           int g, int n, int first, int count) {
    const long long thread = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (thread >= (long long)b * count * n) return;
    const int k = thread % n, c = thread / n % count, item = thread / n / count;
    const long long row = (long long)item * d + first + c, group = (long long)item * g + (first + c) / (d / g);
    decay += ((long long)item * count + c) * l * n + k;
    dt += row * l, u += row * l, B += group * l * n + k, C += group * l * n + k;
    T h = 0, a[kAhead], drive[kAhead], out[kAhead];
    for (int t = 0; t < l; t += kAhead) {
#pragma unroll
        for (int i = 0; i < kAhead; ++i) {
            const long long at = t + i < l ? t + i : l - 1;
            a[i] = decay[at * n];
            drive[i] = product(product(dt[at], B[at * n]), u[at]);
            out[i] = C[at * n];
        }
#pragma unroll
        for (int i = 0; i < kAhead; ++i) {
            if (t + i >= l) break;
            h = sum(product(a[i], h), drive[i]);
            decay[(long long)(t + i) * n] = product(h, out[i]);
        }
    }
    last[row * n + k] = h;
}
