// The kernels of a CUDA device, compiled at run time by NVRTC and, for the tests, as plain C++ with
// threads in place of a block's threads (tests/lm/device). So no header of CUDA is used.
//
// Numbers are f32 or bf16 in memory and f32 in registers. A bf16 is the upper half of an f32,
// rounded to nearest, ties to even. Sums run in an order that the number of threads fixes; there are
// no atomics: the same input gives the same bits.
//
// Each kernel comes as NAME_f32 and NAME_bf16, one number at a time, and as NAME_f32_wide and
// NAME_bf16_wide, eight at a time, for rows (or arrays) of a multiple of eight that begin at a
// multiple of 16 bytes. Blocks have a power of two of threads, at most MAX_THREADS.

#define MAX_THREADS 512
#define WIDE 8

typedef long long Long;
typedef unsigned int Index;

struct bf16 {
    unsigned short bits;
};

__device__ inline float widen(unsigned int bits) { return __uint_as_float(bits << 16); }

__device__ inline unsigned int narrow(float x) {
    unsigned int bits = __float_as_uint(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fc0u;
    return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
}

// Reads and writes P numbers at a place that is a multiple of P.
template <class T, int P> struct Lane;

template <> struct Lane<float, 1> {
    static __device__ inline void load(const float *from, float (&x)[1]) { x[0] = from[0]; }
    static __device__ inline void store(float *to, const float (&x)[1]) { to[0] = x[0]; }
};

template <> struct Lane<bf16, 1> {
    static __device__ inline void load(const bf16 *from, float (&x)[1]) { x[0] = widen(from->bits); }
    static __device__ inline void store(bf16 *to, const float (&x)[1]) {
        to->bits = (unsigned short)narrow(x[0]);
    }
};

template <> struct Lane<float, WIDE> {
    static __device__ inline void load(const float *from, float (&x)[WIDE]) {
        float4 a = ((const float4 *)from)[0], b = ((const float4 *)from)[1];
        x[0] = a.x, x[1] = a.y, x[2] = a.z, x[3] = a.w;
        x[4] = b.x, x[5] = b.y, x[6] = b.z, x[7] = b.w;
    }
    static __device__ inline void store(float *to, const float (&x)[WIDE]) {
        float4 a, b;
        a.x = x[0], a.y = x[1], a.z = x[2], a.w = x[3];
        b.x = x[4], b.y = x[5], b.z = x[6], b.w = x[7];
        ((float4 *)to)[0] = a, ((float4 *)to)[1] = b;
    }
};

template <> struct Lane<bf16, WIDE> {
    static __device__ inline void split(unsigned int two, float &low, float &high) {
        low = widen(two);
        high = __uint_as_float(two & 0xffff0000u);
    }
    static __device__ inline void load(const bf16 *from, float (&x)[WIDE]) {
        uint4 a = ((const uint4 *)from)[0];
        split(a.x, x[0], x[1]), split(a.y, x[2], x[3]);
        split(a.z, x[4], x[5]), split(a.w, x[6], x[7]);
    }
    static __device__ inline unsigned int join(float low, float high) {
        return narrow(low) | (narrow(high) << 16);
    }
    static __device__ inline void store(bf16 *to, const float (&x)[WIDE]) {
        uint4 a;
        a.x = join(x[0], x[1]), a.y = join(x[2], x[3]);
        a.z = join(x[4], x[5]), a.w = join(x[6], x[7]);
        ((uint4 *)to)[0] = a;
    }
};

struct Add {
    static __device__ inline float of(float a, float b) { return a + b; }
};

struct Larger {
    static __device__ inline float of(float a, float b) { return b > a ? b : a; }
};

// Returns the fold of x over the threads of the block, to all of them.
template <class F> __device__ inline float over_block(float x) {
    __shared__ float lanes[MAX_THREADS];
    lanes[threadIdx.x] = x;
    __syncthreads();
    for (Index half = blockDim.x / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) {
            lanes[threadIdx.x] = F::of(lanes[threadIdx.x], lanes[threadIdx.x + half]);
        }
        __syncthreads();
    }
    float all = lanes[0];
    __syncthreads();
    return all;
}

__device__ inline Long first_element(int pack) {
    return ((Long)blockIdx.x * blockDim.x + threadIdx.x) * pack;
}

__device__ inline Long element_stride(int pack) { return (Long)gridDim.x * blockDim.x * pack; }

// ---- Casts and sums, element by element ----

template <class From, class To, int P>
__device__ inline void cast(const From *from, To *to, Long count) {
    for (Long i = first_element(P); i < count; i += element_stride(P)) {
        float x[P];
        Lane<From, P>::load(from + i, x);
        Lane<To, P>::store(to + i, x);
    }
}

template <class T, int P>
__device__ inline void sum(const T *a, const T *b, T *out, Long count) {
    for (Long i = first_element(P); i < count; i += element_stride(P)) {
        float x[P], y[P];
        Lane<T, P>::load(a + i, x);
        Lane<T, P>::load(b + i, y);
        for (int j = 0; j < P; j++) x[j] += y[j];
        Lane<T, P>::store(out + i, x);
    }
}

template <class T, int P>
__device__ inline void add_bias(T *x, const float *bias, int width) {
    T *row = x + (Long)blockIdx.x * width;
    for (int i = threadIdx.x * P; i < width; i += blockDim.x * P) {
        float y[P], b[P];
        Lane<T, P>::load(row + i, y);
        Lane<float, P>::load(bias + i, b);
        for (int j = 0; j < P; j++) y[j] += b[j];
        Lane<T, P>::store(row + i, y);
    }
}

// ---- Rows by number ----

template <class From, class T, int P>
__device__ inline void gather(const From *table, const Index *ids, T *out, int width) {
    const From *from = table + (Long)ids[blockIdx.x] * width;
    T *to = out + (Long)blockIdx.x * width;
    for (int i = threadIdx.x * P; i < width; i += blockDim.x * P) {
        float x[P];
        Lane<From, P>::load(from + i, x);
        Lane<T, P>::store(to + i, x);
    }
}

// Adds rows of grad to the rows of sum they came from. One block for each row of sum: `ids` are
// these, places[starts[i] .. starts[i + 1]] the rows of grad that belong to ids[i], ascending.
template <class T, class Sum, int P>
__device__ inline void scatter(
    const T *grad, const Index *ids, const Index *starts, const Index *places, Sum *sum, int width
) {
    Sum *to = sum + (Long)ids[blockIdx.x] * width;
    for (int i = threadIdx.x * P; i < width; i += blockDim.x * P) {
        float total[P];
        Lane<Sum, P>::load(to + i, total);
        for (Index at = starts[blockIdx.x]; at < starts[blockIdx.x + 1]; at++) {
            float x[P];
            Lane<T, P>::load(grad + (Long)places[at] * width + i, x);
            for (int j = 0; j < P; j++) total[j] += x[j];
        }
        Lane<Sum, P>::store(to + i, total);
    }
}

// ---- Root mean square normalisation, a block for each row ----

template <class T, int P> __device__ inline float inverse_root(const T *x, int width, float epsilon) {
    float squares = 0;
    for (int i = threadIdx.x * P; i < width; i += blockDim.x * P) {
        float y[P];
        Lane<T, P>::load(x + i, y);
        for (int j = 0; j < P; j++) squares += y[j] * y[j];
    }
    return 1.0f / sqrtf(over_block<Add>(squares) / width + epsilon);
}

// With `add` the row is x + add, rounded to T and left in `stream` first.
template <class T, int P>
__device__ inline void rms_norm(
    const T *x, const T *add, const float *weight, T *stream, T *out, int width, float epsilon,
    float offset
) {
    Long at = (Long)blockIdx.x * width;
    const T *row = x + at;
    if (add) {
        for (int i = threadIdx.x * P; i < width; i += blockDim.x * P) {
            float y[P], z[P];
            Lane<T, P>::load(row + i, y);
            Lane<T, P>::load(add + at + i, z);
            for (int j = 0; j < P; j++) y[j] += z[j];
            Lane<T, P>::store(stream + at + i, y);
        }
        // Each thread reads back only what it wrote itself.
        row = stream + at;
    }
    float scale = inverse_root<T, P>(row, width, epsilon);
    for (int i = threadIdx.x * P; i < width; i += blockDim.x * P) {
        float y[P], w[P];
        Lane<T, P>::load(row + i, y);
        Lane<float, P>::load(weight + i, w);
        for (int j = 0; j < P; j++) y[j] *= scale * (offset + w[j]);
        Lane<T, P>::store(out + at + i, y);
    }
}

// With s the scale, n the width and h = g (offset + w): dx = s (h - x s^2 sum(h x) / n), plus
// `residual` if there is one. Leaves s in `scales`.
template <class T, int P>
__device__ inline void rms_norm_backward(
    const T *x, const float *weight, const T *grad, const T *residual, T *dx, float *scales,
    int width, float epsilon, float offset
) {
    Long at = (Long)blockIdx.x * width;
    float scale = inverse_root<T, P>(x + at, width, epsilon);
    float products = 0;
    for (int i = threadIdx.x * P; i < width; i += blockDim.x * P) {
        float y[P], g[P], w[P];
        Lane<T, P>::load(x + at + i, y);
        Lane<T, P>::load(grad + at + i, g);
        Lane<float, P>::load(weight + i, w);
        for (int j = 0; j < P; j++) products += g[j] * (offset + w[j]) * y[j];
    }
    float pull = scale * scale * (over_block<Add>(products) / width);
    for (int i = threadIdx.x * P; i < width; i += blockDim.x * P) {
        float y[P], g[P], w[P];
        Lane<T, P>::load(x + at + i, y);
        Lane<T, P>::load(grad + at + i, g);
        Lane<float, P>::load(weight + i, w);
        for (int j = 0; j < P; j++) g[j] = scale * (g[j] * (offset + w[j]) - y[j] * pull);
        if (residual) {
            Lane<T, P>::load(residual + at + i, y);
            for (int j = 0; j < P; j++) g[j] += y[j];
        }
        Lane<T, P>::store(dx + at + i, g);
    }
    if (threadIdx.x == 0) scales[blockIdx.x] = scale;
}

// The sum of g x s over the rows of chunk blockIdx.y, or of g alone without `x`: a thread for each
// P columns.
template <class T, int P>
__device__ inline void column_partial(
    const T *x, const T *grad, const float *scales, float *partial, int rows, int width, int chunk
) {
    int first = blockIdx.y * chunk, end = first + chunk < rows ? first + chunk : rows;
    for (Long i = first_element(P); i < width; i += element_stride(P)) {
        float total[P];
        for (int j = 0; j < P; j++) total[j] = 0;
        for (int row = first; row < end; row++) {
            float g[P], y[P];
            Lane<T, P>::load(grad + (Long)row * width + i, g);
            if (x) {
                Lane<T, P>::load(x + (Long)row * width + i, y);
                for (int j = 0; j < P; j++) total[j] += g[j] * y[j] * scales[row];
            } else {
                for (int j = 0; j < P; j++) total[j] += g[j];
            }
        }
        Lane<float, P>::store(partial + (Long)blockIdx.y * width + i, total);
    }
}

extern "C" __global__ void column_total(
    const float *partial, float *out, int chunks, int width, int accumulate
) {
    for (Long i = first_element(1); i < width; i += element_stride(1)) {
        float total = accumulate ? out[i] : 0.0f;
        for (int chunk = 0; chunk < chunks; chunk++) total += partial[(Long)chunk * width + i];
        out[i] = total;
    }
}

// ---- Heads ----
//
// Packed: [tokens, heads * width]. By heads: [key heads, tokens, group, width], where `group` query
// heads share a key head: the rows of one key head, and of some tokens of it, lie together.

// Moves features between the two orders and rotates each pair (i, i + half) by the angle of its
// token's position, times `direction`; without angles it only moves. `to_heads`: from packed to by
// heads, else back.
template <class T, int P>
__device__ inline void rope(
    const T *from, T *to, const float *cosine, const float *sine, const Index *positions,
    int tokens, int heads, int group, int half, float direction, int to_heads
) {
    int packs = half / P;
    Long count = (Long)tokens * heads * packs;
    for (Long at = first_element(1); at < count; at += element_stride(1)) {
        int i = (int)(at % packs) * P;
        int head = (int)(at / packs % heads);
        Long token = at / packs / heads;
        Long packed = (token * heads + head) * 2 * half + i;
        Long by_heads = (((Long)(head / group) * tokens + token) * group + head % group) * 2 * half + i;
        Long source = to_heads ? packed : by_heads, target = to_heads ? by_heads : packed;
        float x[P], y[P];
        Lane<T, P>::load(from + source, x);
        Lane<T, P>::load(from + source + half, y);
        if (cosine) {
            float c[P], s[P];
            Long angles = (Long)positions[token] * half + i;
            Lane<float, P>::load(cosine + angles, c);
            Lane<float, P>::load(sine + angles, s);
            for (int j = 0; j < P; j++) {
                float turn = direction * s[j];
                float low = x[j] * c[j] - y[j] * turn;
                y[j] = y[j] * c[j] + x[j] * turn;
                x[j] = low;
            }
        }
        Lane<T, P>::store(to + target, x);
        Lane<T, P>::store(to + target + half, y);
    }
}

// ---- Softmax of a block of scores ----
//
// Scores are [batch, rows, keys]: row r of the block is one of the `group` query heads at position
// start + r / group of its sequence, key k that at first_key + k. A position sees itself and what
// lies before it, with a window of w itself and the w - 1 before it.

struct Seen {
    int from, to;
};

__device__ inline Seen seen_keys(int start, int first_key, int group, int window) {
    int position = start + (int)blockIdx.x / group;
    int from = window > 0 && position + 1 > window ? position + 1 - window : 0;
    Seen seen;
    seen.from = from - first_key;
    seen.to = position + 1 - first_key;
    return seen;
}

__device__ inline float capped(float x, float cap) { return cap > 0 ? cap * tanhf(x / cap) : x; }

template <class T, int P>
__device__ inline void masked_softmax(
    const T *scores, T *weights, int rows, int keys, int start, int first_key, int group, int window,
    float scale, float cap
) {
    Seen seen = seen_keys(start, first_key, group, window);
    Long at = ((Long)blockIdx.y * rows + blockIdx.x) * keys;
    int first = seen.from / P * P;
    float max = -3.0e38f;
    for (int i = first + threadIdx.x * P; i < seen.to; i += blockDim.x * P) {
        float x[P];
        Lane<T, P>::load(scores + at + i, x);
        for (int j = 0; j < P; j++) {
            float y = capped(x[j] * scale, cap);
            if (i + j >= seen.from && i + j < seen.to && y > max) max = y;
        }
    }
    max = over_block<Larger>(max);
    float total = 0;
    for (int i = first + threadIdx.x * P; i < seen.to; i += blockDim.x * P) {
        float x[P];
        Lane<T, P>::load(scores + at + i, x);
        for (int j = 0; j < P; j++) {
            bool is_seen = i + j >= seen.from && i + j < seen.to;
            total += is_seen ? expf(capped(x[j] * scale, cap) - max) : 0.0f;
        }
    }
    float inverse = 1.0f / over_block<Add>(total);
    for (int i = threadIdx.x * P; i < keys; i += blockDim.x * P) {
        float x[P];
        if (i + P > seen.from && i < seen.to) {
            Lane<T, P>::load(scores + at + i, x);
            for (int j = 0; j < P; j++) {
                bool is_seen = i + j >= seen.from && i + j < seen.to;
                x[j] = is_seen ? expf(capped(x[j] * scale, cap) - max) * inverse : 0.0f;
            }
        } else {
            for (int j = 0; j < P; j++) x[j] = 0;
        }
        Lane<T, P>::store(weights + at + i, x);
    }
}

// dS = P (dP - sum(P dP)) scale, times 1 - tanh^2 with a cap. dP may be the place of dS.
template <class T, int P>
__device__ inline void score_gradient(
    const T *scores, const T *weights, const T *d_weights, T *d_scores, int rows, int keys,
    int start, int first_key, int group, int window, float scale, float cap
) {
    Seen seen = seen_keys(start, first_key, group, window);
    Long at = ((Long)blockIdx.y * rows + blockIdx.x) * keys;
    float total = 0;
    for (int i = threadIdx.x * P; i < seen.to; i += blockDim.x * P) {
        float p[P], d[P];
        Lane<T, P>::load(weights + at + i, p);
        Lane<T, P>::load(d_weights + at + i, d);
        for (int j = 0; j < P; j++) total += p[j] * d[j];
    }
    total = over_block<Add>(total);
    for (int i = threadIdx.x * P; i < keys; i += blockDim.x * P) {
        float p[P], d[P];
        if (i < seen.to) {
            Lane<T, P>::load(weights + at + i, p);
            Lane<T, P>::load(d_weights + at + i, d);
            for (int j = 0; j < P; j++) d[j] = p[j] * (d[j] - total) * scale;
            if (cap > 0) {
                Lane<T, P>::load(scores + at + i, p);
                for (int j = 0; j < P; j++) {
                    float bent = tanhf(p[j] * scale / cap);
                    // A score that is not seen may be anything, and its gradient stays 0.
                    d[j] = d[j] == 0 ? 0 : d[j] * (1 - bent * bent);
                }
            }
        } else {
            for (int j = 0; j < P; j++) d[j] = 0;
        }
        Lane<T, P>::store(d_scores + at + i, d);
    }
}

// ---- The gated activation ----

struct Bent {
    float value, slope;
};

// 0: x sigmoid(x). 1: x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))).
__device__ inline Bent bend(float x, int activation) {
    Bent out;
    if (activation == 0) {
        float s = 1.0f / (1.0f + expf(-x));
        out.value = x * s;
        out.slope = s * (1.0f + x * (1.0f - s));
        return out;
    }
    const float slope = 0.7978846f, cube = 0.044715f;
    float square = x * x;
    float t = tanhf(slope * x * (1.0f + cube * square));
    float inner = slope * (1.0f + 3.0f * cube * square);
    // Beyond the tangent's flat ends the slope is 0 or 1.
    float part = fabsf(x) > 10.0f ? 0.0f : 0.5f * x * (1.0f - t * t) * inner;
    out.value = 0.5f * x * (1.0f + t);
    out.slope = 0.5f * (1.0f + t) + part;
    return out;
}

template <class T, int P>
__device__ inline void gated(const T *gate, const T *up, T *out, int activation, Long count) {
    for (Long i = first_element(P); i < count; i += element_stride(P)) {
        float g[P], u[P];
        Lane<T, P>::load(gate + i, g);
        Lane<T, P>::load(up + i, u);
        for (int j = 0; j < P; j++) g[j] = bend(g[j], activation).value * u[j];
        Lane<T, P>::store(out + i, g);
    }
}

template <class T, int P>
__device__ inline void gated_backward(
    const T *gate, const T *up, const T *grad, T *d_gate, T *d_up, int activation, Long count
) {
    for (Long i = first_element(P); i < count; i += element_stride(P)) {
        float g[P], u[P], d[P];
        Lane<T, P>::load(gate + i, g);
        Lane<T, P>::load(up + i, u);
        Lane<T, P>::load(grad + i, d);
        for (int j = 0; j < P; j++) {
            Bent bent = bend(g[j], activation);
            g[j] = d[j] * u[j] * bent.slope;
            u[j] = d[j] * bent.value;
        }
        Lane<T, P>::store(d_gate + i, g);
        Lane<T, P>::store(d_up + i, u);
    }
}

// ---- Log-probabilities of targets; logits are f32, a block for each row ----

template <int P>
__device__ inline void log_softmax(
    const float *logits, const Index *targets, float *out, float *normalizers, int vocabulary,
    float cap
) {
    const float *row = logits + (Long)blockIdx.x * vocabulary;
    float max = -3.0e38f, total = 0;
    for (int i = threadIdx.x * P; i < vocabulary; i += blockDim.x * P) {
        float x[P];
        Lane<float, P>::load(row + i, x);
        float larger = max;
        for (int j = 0; j < P; j++) {
            x[j] = capped(x[j], cap);
            larger = Larger::of(larger, x[j]);
        }
        total *= expf(max - larger);
        max = larger;
        for (int j = 0; j < P; j++) total += expf(x[j] - max);
    }
    float all = over_block<Larger>(max);
    total = over_block<Add>(total * expf(max - all));
    if (threadIdx.x == 0) {
        float normalizer = all + logf(total);
        normalizers[blockIdx.x] = normalizer;
        out[blockIdx.x] = capped(row[targets[blockIdx.x]], cap) - normalizer;
    }
}

// dl = g (1[target] - p), times 1 - tanh^2 with a cap.
template <class T, int P>
__device__ inline void logit_gradient(
    const float *logits, const Index *targets, const float *grad, const float *normalizers,
    T *d_logits, int vocabulary, float cap
) {
    Long at = (Long)blockIdx.x * vocabulary;
    int target = (int)targets[blockIdx.x];
    float g = grad[blockIdx.x], normalizer = normalizers[blockIdx.x];
    for (int i = threadIdx.x * P; i < vocabulary; i += blockDim.x * P) {
        float x[P];
        Lane<float, P>::load(logits + at + i, x);
        for (int j = 0; j < P; j++) {
            float bent = cap > 0 ? tanhf(x[j] / cap) : 0.0f;
            float y = cap > 0 ? cap * bent : x[j];
            float wanted = i + j == target ? 1.0f : 0.0f;
            x[j] = g * (wanted - expf(y - normalizer)) * (1.0f - bent * bent);
        }
        Lane<T, P>::store(d_logits + at + i, x);
    }
}

// ---- The optimiser, f32 ----

template <int P>
__device__ inline void adamw(
    float *variable, const float *gradient, float *mean, float *square, Long count, float beta1,
    float beta2, float epsilon, float scale, float rate, float root, float keep
) {
    for (Long i = first_element(P); i < count; i += element_stride(P)) {
        float v[P], g[P], m[P], s[P];
        Lane<float, P>::load(variable + i, v);
        Lane<float, P>::load(gradient + i, g);
        Lane<float, P>::load(mean + i, m);
        Lane<float, P>::load(square + i, s);
        for (int j = 0; j < P; j++) {
            float x = g[j] * scale;
            m[j] = beta1 * m[j] + (1.0f - beta1) * x;
            s[j] = beta2 * s[j] + (1.0f - beta2) * x * x;
            v[j] = keep * v[j] - rate * m[j] / (sqrtf(s[j]) * root + epsilon);
        }
        Lane<float, P>::store(variable + i, v);
        Lane<float, P>::store(mean + i, m);
        Lane<float, P>::store(square + i, s);
    }
}

// Sums of squares are f64, as on the CPU: the norm of all gradients is one of them.
__device__ inline double sum_over_block(double x) {
    __shared__ double lanes[MAX_THREADS];
    lanes[threadIdx.x] = x;
    __syncthreads();
    for (Index half = blockDim.x / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) lanes[threadIdx.x] += lanes[threadIdx.x + half];
        __syncthreads();
    }
    double all = lanes[0];
    __syncthreads();
    return all;
}

template <int P>
__device__ inline void squares(const float *x, double *partial, Long count) {
    double total = 0;
    for (Long i = first_element(P); i < count; i += element_stride(P)) {
        float y[P];
        Lane<float, P>::load(x + i, y);
        for (int j = 0; j < P; j++) total += (double)y[j] * y[j];
    }
    total = sum_over_block(total);
    if (threadIdx.x == 0) partial[blockIdx.x] = total;
}

extern "C" __global__ void squares_total(const double *partial, double *out, int count, int place) {
    double total = 0;
    for (int i = threadIdx.x; i < count; i += blockDim.x) total += partial[i];
    total = sum_over_block(total);
    if (threadIdx.x == 0) out[place] = total;
}

// ---- Kernels by name ----

#ifndef REGISTER
#define REGISTER(name)
#endif

#define ONE(name, function, params, call)                                                          \
    extern "C" __global__ void name params { function call; }                                      \
    REGISTER(name)

#define FOUR(name, PARAMS, call)                                                                   \
    ONE(name##_f32, (name<float, 1>), PARAMS(float), call)                                         \
    ONE(name##_bf16, (name<bf16, 1>), PARAMS(bf16), call)                                          \
    ONE(name##_f32_wide, (name<float, WIDE>), PARAMS(float), call)                                 \
    ONE(name##_bf16_wide, (name<bf16, WIDE>), PARAMS(bf16), call)

// From one type to another: both f32, f32 to bf16, both bf16, and bf16 to f32.
#define BETWEEN(name, PARAMS, call)                                                                \
    ONE(name##_f32_f32, (name<float, float, 1>), PARAMS(float, float), call)                       \
    ONE(name##_f32_bf16, (name<float, bf16, 1>), PARAMS(float, bf16), call)                        \
    ONE(name##_bf16_bf16, (name<bf16, bf16, 1>), PARAMS(bf16, bf16), call)                         \
    ONE(name##_bf16_f32, (name<bf16, float, 1>), PARAMS(bf16, float), call)                        \
    ONE(name##_f32_f32_wide, (name<float, float, WIDE>), PARAMS(float, float), call)               \
    ONE(name##_f32_bf16_wide, (name<float, bf16, WIDE>), PARAMS(float, bf16), call)                \
    ONE(name##_bf16_bf16_wide, (name<bf16, bf16, WIDE>), PARAMS(bf16, bf16), call)                 \
    ONE(name##_bf16_f32_wide, (name<bf16, float, WIDE>), PARAMS(bf16, float), call)

#define PLAIN(name, PARAMS, call)                                                                  \
    ONE(name##_f32, (name<1>), PARAMS, call)                                                       \
    ONE(name##_f32_wide, (name<WIDE>), PARAMS, call)

#define CAST(A, B) (const A *from, B *to, Long count)
BETWEEN(cast, CAST, (from, to, count))

#define SUM(T) (const T *a, const T *b, T *out, Long count)
FOUR(sum, SUM, (a, b, out, count))

#define ADD_BIAS(T) (T *x, const float *bias, int width)
FOUR(add_bias, ADD_BIAS, (x, bias, width))

#define GATHER(A, B) (const A *table, const Index *ids, B *out, int width)
BETWEEN(gather, GATHER, (table, ids, out, width))

#define SCATTER(A, B)                                                                              \
    (const A *grad, const Index *ids, const Index *starts, const Index *places, B *sum, int width)
BETWEEN(scatter, SCATTER, (grad, ids, starts, places, sum, width))

#define RMS_NORM(T)                                                                                \
    (const T *x, const T *add, const float *weight, T *stream, T *out, int width, float epsilon,   \
     float offset)
FOUR(rms_norm, RMS_NORM, (x, add, weight, stream, out, width, epsilon, offset))

#define RMS_NORM_BACKWARD(T)                                                                       \
    (const T *x, const float *weight, const T *grad, const T *residual, T *dx, float *scales,      \
     int width, float epsilon, float offset)
FOUR(
    rms_norm_backward, RMS_NORM_BACKWARD,
    (x, weight, grad, residual, dx, scales, width, epsilon, offset)
)

#define COLUMN_PARTIAL(T)                                                                          \
    (const T *x, const T *grad, const float *scales, float *partial, int rows, int width,          \
     int chunk)
FOUR(column_partial, COLUMN_PARTIAL, (x, grad, scales, partial, rows, width, chunk))
REGISTER(column_total)

#define ROPE(T)                                                                                    \
    (const T *from, T *to, const float *cosine, const float *sine, const Index *positions,         \
     int tokens, int heads, int group, int half, float direction, int to_heads)
FOUR(
    rope, ROPE,
    (from, to, cosine, sine, positions, tokens, heads, group, half, direction, to_heads)
)

#define MASKED_SOFTMAX(T)                                                                          \
    (const T *scores, T *weights, int rows, int keys, int start, int first_key, int group,         \
     int window, float scale, float cap)
FOUR(
    masked_softmax, MASKED_SOFTMAX,
    (scores, weights, rows, keys, start, first_key, group, window, scale, cap)
)

#define SCORE_GRADIENT(T)                                                                          \
    (const T *scores, const T *weights, const T *d_weights, T *d_scores, int rows, int keys,       \
     int start, int first_key, int group, int window, float scale, float cap)
FOUR(
    score_gradient, SCORE_GRADIENT,
    (scores, weights, d_weights, d_scores, rows, keys, start, first_key, group, window, scale, cap)
)

#define GATED(T) (const T *gate, const T *up, T *out, int activation, Long count)
FOUR(gated, GATED, (gate, up, out, activation, count))

#define GATED_BACKWARD(T)                                                                          \
    (const T *gate, const T *up, const T *grad, T *d_gate, T *d_up, int activation, Long count)
FOUR(gated_backward, GATED_BACKWARD, (gate, up, grad, d_gate, d_up, activation, count))

#define LOG_SOFTMAX                                                                                \
    (const float *logits, const Index *targets, float *out, float *normalizers, int vocabulary,    \
     float cap)
PLAIN(log_softmax, LOG_SOFTMAX, (logits, targets, out, normalizers, vocabulary, cap))

#define LOGIT_GRADIENT(T)                                                                          \
    (const float *logits, const Index *targets, const float *grad, const float *normalizers,       \
     T *d_logits, int vocabulary, float cap)
FOUR(logit_gradient, LOGIT_GRADIENT, (logits, targets, grad, normalizers, d_logits, vocabulary, cap))

#define ADAMW                                                                                      \
    (float *variable, const float *gradient, float *mean, float *square, Long count, float beta1,  \
     float beta2, float epsilon, float scale, float rate, float root, float keep)
PLAIN(
    adamw, ADAMW,
    (variable, gradient, mean, square, count, beta1, beta2, epsilon, scale, rate, root, keep)
)

#define SQUARES (const float *x, double *partial, Long count)
PLAIN(squares, SQUARES, (x, partial, count))
REGISTER(squares_total)
