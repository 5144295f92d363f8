// Attention whose scores never leave the chip (Dao 2023), for bf16 and heads of 64. Follows
// kernels.cu in one source.
//
// Queries are by heads, [key heads, tokens, group, 64]: the `group` query heads of a key head are
// rows of one matrix, so row r of a sequence stands at position r / group, and keys are read once
// for all of them. A block has four warps and a tile of 64 rows; each warp has 16 of them and goes
// over tiles of 64 keys with the tensor cores' products of 16 x 16 by 16 x 8. The backward pass is
// two kernels, each of which sums in an order of its own and adds to nothing from outside: one has
// tiles of rows and gives the gradient of queries, one has tiles of keys and gives the other two.
//
// A product's sides lie in registers of the 32 lanes of a warp as PTX says for m16n8k16. With
// g = lane / 4 and t = lane % 4:
//
//   left    rows g and g + 8, columns 2t, 2t + 1 and 2t + 8, 2t + 9       four pairs of bf16
//   right   rows 2t, 2t + 1 and 2t + 8, 2t + 9, column g                  two pairs of bf16
//   result  rows g and g + 8, columns 2t and 2t + 1                       four floats
//
// so that two neighbouring results are the left side of the next product as they are.

#define HEAD 64
#define TILE 64
// Rows of shared memory are this long, so that eight of them lie in different banks.
#define PITCH 72
#define LOG2_E 1.4426950408889634f

#ifndef EMULATED_WARPS
__device__ inline void warp_multiply(
    float (&c)[4], const unsigned int (&a)[4], unsigned int b0, unsigned int b1
) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1)
    );
}

__device__ inline unsigned int shared_address(const void *at) {
    unsigned int address;
    asm("{ .reg .u64 wide; cvta.to.shared.u64 wide, %1; cvt.u32.u64 %0, wide; }"
        : "=r"(address)
        : "l"(at));
    return address;
}

// Loads four matrices of 8 x 8; lane i gives the place of row i % 8 of matrix i / 8.
__device__ inline void warp_load(unsigned int (&x)[4], const bf16 *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// The same, each matrix transposed.
__device__ inline void warp_load_transposed(unsigned int (&x)[4], const bf16 *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
                 : "r"(shared_address(row))
                 : "memory");
}

__device__ inline float warp_exchange(float x, int distance) {
    return __shfl_xor_sync(0xffffffffu, x, distance);
}
#endif

// Where a thread stands in its warp.
struct Lanes {
    int warp, g, t, matrix, line;
};

__device__ inline Lanes lanes_of() {
    int lane = threadIdx.x % 32;
    Lanes at;
    at.warp = threadIdx.x / 32, at.g = lane / 4, at.t = lane % 4;
    at.matrix = lane / 8, at.line = lane % 8;
    return at;
}

__device__ inline unsigned int pair(float low, float high) {
    return narrow(low) | (narrow(high) << 16);
}

// The sum or maximum over the four lanes that share a row of a result.
template <class F> __device__ inline float over_row(float x) {
    x = F::of(x, warp_exchange(x, 1));
    return F::of(x, warp_exchange(x, 2));
}

// A tile of rows in shared memory.
struct alignas(16) Tile {
    bf16 x[TILE * PITCH];
};

// Copies rows first .. first + TILE of a matrix of `rows` to shared memory, zeros behind its end.
__device__ inline void copy_tile(Tile &tile, const bf16 *from, int first, int rows) {
    for (int i = threadIdx.x; i < TILE * HEAD / WIDE; i += blockDim.x) {
        int row = i / (HEAD / WIDE), column = i % (HEAD / WIDE) * WIDE;
        uint4 x;
        x.x = x.y = x.z = x.w = 0;
        if (first + row < rows) x = *(const uint4 *)(from + (Long)(first + row) * HEAD + column);
        *(uint4 *)(tile.x + row * PITCH + column) = x;
    }
}

// The left side of products: 16 rows of HEAD columns, of which the lane has rows `a` and `b`.
struct Left {
    unsigned int x[HEAD / 16][4];
};

__device__ inline Left left_rows(const bf16 *from, int a, int b, int rows, int t) {
    Left left;
    for (int k = 0; k < HEAD / 16; k++) {
        for (int half = 0; half < 2; half++) {
            int column = k * 16 + half * 8 + t * 2;
            const bf16 *at_a = from + (Long)a * HEAD + column, *at_b = from + (Long)b * HEAD + column;
            left.x[k][half * 2] = a < rows ? *(const unsigned int *)at_a : 0;
            left.x[k][half * 2 + 1] = b < rows ? *(const unsigned int *)at_b : 0;
        }
    }
    return left;
}

// A warp's result: 16 rows of 64 columns in eight parts of eight.
struct Result {
    float x[8][4];
};

__device__ inline Result zeros() {
    Result result;
#pragma unroll
    for (int j = 0; j < 8; j++) {
#pragma unroll
        for (int e = 0; e < 4; e++) result.x[j][e] = 0;
    }
    return result;
}

// Adds left times the transpose of a tile: its rows are the result's columns.
__device__ inline void times_rows(
    Result &result, const Left &left, const Tile &tile, Lanes at
) {
#pragma unroll
    for (int k = 0; k < HEAD / 16; k++) {
#pragma unroll
        for (int j = 0; j < 8; j += 2) {
            unsigned int x[4];
            int row = (j + at.matrix / 2) * 8 + at.line, column = k * 16 + at.matrix % 2 * 8;
            warp_load(x, tile.x + row * PITCH + column);
            warp_multiply(result.x[j], left.x[k], x[0], x[1]);
            warp_multiply(result.x[j + 1], left.x[k], x[2], x[3]);
        }
    }
}

// Adds a result, rounded, times a tile.
__device__ inline void times_tile(
    Result &result, const Result &left, const Tile &tile, Lanes at
) {
#pragma unroll
    for (int k = 0; k < TILE / 16; k++) {
        unsigned int a[4];
        a[0] = pair(left.x[2 * k][0], left.x[2 * k][1]);
        a[1] = pair(left.x[2 * k][2], left.x[2 * k][3]);
        a[2] = pair(left.x[2 * k + 1][0], left.x[2 * k + 1][1]);
        a[3] = pair(left.x[2 * k + 1][2], left.x[2 * k + 1][3]);
#pragma unroll
        for (int j = 0; j < 8; j += 2) {
            unsigned int x[4];
            int row = k * 16 + at.matrix % 2 * 8 + at.line, column = (j + at.matrix / 2) * 8;
            warp_load_transposed(x, tile.x + row * PITCH + column);
            warp_multiply(result.x[j], a, x[0], x[1]);
            warp_multiply(result.x[j + 1], a, x[2], x[3]);
        }
    }
}

// Writes a result times factors of its rows `a` and `b`.
__device__ inline void write_rows(
    bf16 *to, const Result &result, int a, int b, int rows, int t, float by_a, float by_b
) {
#pragma unroll
    for (int j = 0; j < 8; j++) {
        int column = j * 8 + t * 2;
        const float(&x)[4] = result.x[j];
        if (a < rows) *(unsigned int *)(to + (Long)a * HEAD + column) = pair(x[0] * by_a, x[1] * by_a);
        if (b < rows) *(unsigned int *)(to + (Long)b * HEAD + column) = pair(x[2] * by_b, x[3] * by_b);
    }
}

// What a block works on: a sequence and the first row, or key, of a tile of it.
struct Job {
    int length, start, rows;
    // The sequence's first row in matrices by query heads, and by key heads.
    Long query, key;
};

__device__ inline Job job_of(const Index *tiles, int tokens, int group) {
    const Index *tile = tiles + 3 * blockIdx.x;
    Job job;
    job.length = tile[1], job.start = tile[2], job.rows = job.length * group;
    job.key = (Long)blockIdx.y * tokens + tile[0];
    job.query = job.key * group;
    return job;
}

struct Scores {
    int group, window;
    float scale, cap;

    __device__ inline bool sees(int position, int key) const {
        return key <= position && (window == 0 || key + window > position);
    }

    // The capped score, and the slope of it over the product.
    __device__ inline float of(float product, float &slope) const {
        slope = scale;
        if (cap == 0) return product * scale;
        float bent = tanhf(product * scale / cap);
        slope = scale * (1.0f - bent * bent);
        return cap * bent;
    }

    __device__ inline int first_key(int row) const {
        int first = row / group - window + 1;
        return window == 0 || first < 0 ? 0 : first / TILE * TILE;
    }
};

__device__ inline Scores scores_of(int group, int window, float scale, float cap) {
    Scores scores;
    scores.group = group, scores.window = window, scores.scale = scale, scores.cap = cap;
    return scores;
}

// Leaves the logarithm to base 2 of each row's sum of exponentials in `normalizers`.
extern "C" __global__ void __launch_bounds__(128) flash_forward(
    const bf16 *query, const bf16 *key, const bf16 *value, const Index *tiles, bf16 *out,
    float *normalizers, int tokens, int group, int window, float scale, float cap
) {
    __shared__ Tile keys, values;
    Lanes at = lanes_of();
    Job job = job_of(tiles, tokens, group);
    Scores scores = scores_of(group, window, scale, cap);
    int a = job.start + at.warp * 16 + at.g, b = a + 8;
    Left left = left_rows(query + job.query * HEAD, a, b, job.rows, at.t);
    int position_a = a / group, position_b = b / group;
    Result mixed = zeros();
    float max_a = -3.0e38f, max_b = -3.0e38f, sum_a = 0, sum_b = 0;
    int last = job.start + TILE < job.rows ? job.start + TILE - 1 : job.rows - 1;
    int end = last / group + 1;
    for (int first = scores.first_key(job.start); first < end; first += TILE) {
        __syncthreads();
        copy_tile(keys, key + job.key * HEAD, first, job.length);
        copy_tile(values, value + job.key * HEAD, first, job.length);
        __syncthreads();
        Result s = zeros();
        times_rows(s, left, keys, at);
        float top_a = max_a, top_b = max_b;
#pragma unroll
        for (int j = 0; j < 8; j++) {
#pragma unroll
            for (int e = 0; e < 4; e++) {
                float slope;
                int k = first + j * 8 + at.t * 2 + e % 2;
                bool seen = scores.sees(e < 2 ? position_a : position_b, k);
                s.x[j][e] = seen ? scores.of(s.x[j][e], slope) * LOG2_E : -3.0e38f;
                if (e < 2) top_a = Larger::of(top_a, s.x[j][e]);
                else top_b = Larger::of(top_b, s.x[j][e]);
            }
        }
        top_a = over_row<Larger>(top_a), top_b = over_row<Larger>(top_b);
        float keep_a = exp2f(max_a - top_a), keep_b = exp2f(max_b - top_b);
        max_a = top_a, max_b = top_b, sum_a *= keep_a, sum_b *= keep_b;
#pragma unroll
        for (int j = 0; j < 8; j++) {
#pragma unroll
            for (int e = 0; e < 4; e++) {
                float x = s.x[j][e];
                // A row that has seen no key yet has no maximum to compare with.
                float p = x > -2.0e38f ? exp2f(x - (e < 2 ? max_a : max_b)) : 0.0f;
                s.x[j][e] = p;
                (e < 2 ? sum_a : sum_b) += p;
                mixed.x[j][e] *= e < 2 ? keep_a : keep_b;
            }
        }
        times_tile(mixed, s, values, at);
    }
    sum_a = over_row<Add>(sum_a), sum_b = over_row<Add>(sum_b);
    bf16 *to = out + job.query * HEAD;
    write_rows(to, mixed, a, b, job.rows, at.t, 1.0f / sum_a, 1.0f / sum_b);
    if (at.t == 0) {
        if (a < job.rows) normalizers[job.query + a] = max_a + log2f(sum_a);
        if (b < job.rows) normalizers[job.query + b] = max_b + log2f(sum_b);
    }
}

// The sum over each row of grad times out.
extern "C" __global__ void flash_products(
    const bf16 *grad, const bf16 *out, float *products, Long rows
) {
    for (Long row = first_element(1); row < rows; row += element_stride(1)) {
        float total = 0;
        for (int i = 0; i < HEAD; i += WIDE) {
            float x[WIDE], y[WIDE];
            Lane<bf16, WIDE>::load(grad + row * HEAD + i, x);
            Lane<bf16, WIDE>::load(out + row * HEAD + i, y);
            for (int j = 0; j < WIDE; j++) total += x[j] * y[j];
        }
        products[row] = total;
    }
}

// Makes P of products of queries and keys, and in `d`, which has dP, the gradient of the products.
__device__ inline void gradient_of(
    float &s, float &d, const Scores &scores, bool seen, float normalizer, float product
) {
    float slope;
    float p = scores.of(s, slope);
    p = seen ? exp2f(p * LOG2_E - normalizer) : 0.0f;
    s = p;
    d = p * (d - product) * slope;
}

extern "C" __global__ void __launch_bounds__(128) flash_queries(
    const bf16 *query, const bf16 *key, const bf16 *value, const bf16 *grad,
    const float *normalizers, const float *products, const Index *tiles, bf16 *d_query, int tokens,
    int group, int window, float scale, float cap
) {
    __shared__ Tile keys, values;
    Lanes at = lanes_of();
    Job job = job_of(tiles, tokens, group);
    Scores scores = scores_of(group, window, scale, cap);
    int a = job.start + at.warp * 16 + at.g, b = a + 8;
    Left queries = left_rows(query + job.query * HEAD, a, b, job.rows, at.t);
    Left grads = left_rows(grad + job.query * HEAD, a, b, job.rows, at.t);
    float normalizer_a = a < job.rows ? normalizers[job.query + a] : 0.0f;
    float normalizer_b = b < job.rows ? normalizers[job.query + b] : 0.0f;
    float product_a = a < job.rows ? products[job.query + a] : 0.0f;
    float product_b = b < job.rows ? products[job.query + b] : 0.0f;
    int position_a = a < job.rows ? a / group : -1, position_b = b < job.rows ? b / group : -1;
    Result out = zeros();
    int last = job.start + TILE < job.rows ? job.start + TILE - 1 : job.rows - 1;
    int end = last / group + 1;
    for (int first = scores.first_key(job.start); first < end; first += TILE) {
        __syncthreads();
        copy_tile(keys, key + job.key * HEAD, first, job.length);
        copy_tile(values, value + job.key * HEAD, first, job.length);
        __syncthreads();
        Result s = zeros(), d = zeros();
        times_rows(s, queries, keys, at);
        times_rows(d, grads, values, at);
#pragma unroll
        for (int j = 0; j < 8; j++) {
#pragma unroll
            for (int e = 0; e < 4; e++) {
                int k = first + j * 8 + at.t * 2 + e % 2;
                bool seen = scores.sees(e < 2 ? position_a : position_b, k);
                float normalizer = e < 2 ? normalizer_a : normalizer_b;
                float product = e < 2 ? product_a : product_b;
                gradient_of(s.x[j][e], d.x[j][e], scores, seen, normalizer, product);
            }
        }
        times_tile(out, d, keys, at);
    }
    write_rows(d_query + job.query * HEAD, out, a, b, job.rows, at.t, 1.0f, 1.0f);
}

extern "C" __global__ void __launch_bounds__(128) flash_keys(
    const bf16 *query, const bf16 *key, const bf16 *value, const bf16 *grad,
    const float *normalizers, const float *products, const Index *tiles, bf16 *d_key, bf16 *d_value,
    int tokens, int group, int window, float scale, float cap
) {
    __shared__ Tile queries, grads;
    __shared__ float row_normalizers[TILE], row_products[TILE];
    __shared__ int row_positions[TILE];
    Lanes at = lanes_of();
    Job job = job_of(tiles, tokens, group);
    Scores scores = scores_of(group, window, scale, cap);
    int a = job.start + at.warp * 16 + at.g, b = a + 8;
    Left keys = left_rows(key + job.key * HEAD, a, b, job.length, at.t);
    Left values = left_rows(value + job.key * HEAD, a, b, job.length, at.t);
    Result key_sum = zeros(), value_sum = zeros();
    // Behind the last key's window no row sees a key of the tile.
    int end = job.rows;
    if (window > 0 && (job.start + TILE - 1 + window) * group < end) {
        end = (job.start + TILE - 1 + window) * group;
    }
    for (int first = job.start * group; first < end; first += TILE) {
        __syncthreads();
        copy_tile(queries, query + job.query * HEAD, first, job.rows);
        copy_tile(grads, grad + job.query * HEAD, first, job.rows);
        for (int i = threadIdx.x; i < TILE; i += blockDim.x) {
            bool inside = first + i < job.rows;
            row_normalizers[i] = inside ? normalizers[job.query + first + i] : 0.0f;
            row_products[i] = inside ? products[job.query + first + i] : 0.0f;
            // A row that is not there sees no key.
            row_positions[i] = inside ? (first + i) / group : -1;
        }
        __syncthreads();
        Result s = zeros(), d = zeros();
        times_rows(s, keys, queries, at);
        times_rows(d, values, grads, at);
#pragma unroll
        for (int j = 0; j < 8; j++) {
#pragma unroll
            for (int e = 0; e < 4; e++) {
                int i = j * 8 + at.t * 2 + e % 2, k = e < 2 ? a : b;
                bool seen = scores.sees(row_positions[i], k);
                gradient_of(
                    s.x[j][e], d.x[j][e], scores, seen, row_normalizers[i], row_products[i]
                );
            }
        }
        times_tile(value_sum, s, grads, at);
        times_tile(key_sum, d, queries, at);
    }
    write_rows(d_key + job.key * HEAD, key_sum, a, b, job.length, at.t, 1.0f, 1.0f);
    write_rows(d_value + job.key * HEAD, value_sum, a, b, job.length, at.t, 1.0f, 1.0f);
}

REGISTER(flash_forward)
REGISTER(flash_products)
REGISTER(flash_queries)
REGISTER(flash_keys)
