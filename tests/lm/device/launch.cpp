// Runs the kernels of src/lm/ops/kernels.cu on the host: a block's threads are threads that meet at
// a barrier, blocks run one after another. KERNELS and FLASH are the paths of the sources. What a
// warp does as one (products, loads of matrices, exchange) is done by its lanes from what they show
// each other, as PTX describes it.

#include <barrier>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

struct Place {
    unsigned int x, y;
};

static thread_local Place threadIdx, blockIdx;
static Place blockDim, gridDim;
static std::unique_ptr<std::barrier<>> meeting;

static void __syncthreads() {
    if (blockDim.x > 1) meeting->arrive_and_wait();
}

struct alignas(16) float4 {
    float x, y, z, w;
};

struct alignas(16) uint4 {
    unsigned int x, y, z, w;
};

static inline float __uint_as_float(unsigned int bits) {
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}

static inline unsigned int __float_as_uint(float x) {
    unsigned int bits;
    std::memcpy(&bits, &x, sizeof bits);
    return bits;
}

// A kernel with its arguments as an array of pointers to them.
typedef void (*Kernel)(void **);

static std::map<std::string, Kernel> &kernels() {
    static std::map<std::string, Kernel> all;
    return all;
}

template <auto function> struct Bound;

template <class... A, void (*function)(A...)> struct Bound<function> {
    template <std::size_t... I> static void unpack(void **arguments, std::index_sequence<I...>) {
        function(*(A *)arguments[I]...);
    }
    static void call(void **arguments) { unpack(arguments, std::index_sequence_for<A...>()); }
};

#define __global__
#define __device__
#define __shared__ static
#define REGISTER(name)                                                                             \
    static bool registered_##name = (kernels()[#name] = Bound<&name>::call, true);

#define __launch_bounds__(threads)

#include KERNELS

// What the lanes of each warp show each other, and where they meet to do so.
static constexpr int WARPS = 4, LANES = 32;
static std::unique_ptr<std::barrier<>> warps[WARPS];
static const bf16 *rows[WARPS][LANES];
static unsigned int lefts[WARPS][LANES][4], rights[WARPS][LANES][2];
static float floats[WARPS][LANES];

static void meet_warp() { warps[threadIdx.x / LANES]->arrive_and_wait(); }

static float half_of(unsigned int pair, int which) { return widen(pair >> (16 * which) & 0xffffu); }

// As PTX describes mma.m16n8k16 with bf16 sides and ldmatrix with four matrices.
static void warp_multiply(
    float (&c)[4], const unsigned int (&a)[4], unsigned int b0, unsigned int b1
) {
    int warp = threadIdx.x / LANES, lane = threadIdx.x % LANES;
    for (int i = 0; i < 4; i++) lefts[warp][lane][i] = a[i];
    rights[warp][lane][0] = b0, rights[warp][lane][1] = b1;
    meet_warp();
    for (int e = 0; e < 4; e++) {
        int row = lane / 4 + e / 2 * 8, column = lane % 4 * 2 + e % 2;
        for (int k = 0; k < 16; k++) {
            unsigned int left = lefts[warp][row % 8 * 4 + k % 8 / 2][row / 8 + k / 8 * 2];
            unsigned int right = rights[warp][column * 4 + k % 8 / 2][k / 8];
            c[e] += half_of(left, k % 2) * half_of(right, k % 2);
        }
    }
    meet_warp();
}

static void load_four(unsigned int (&x)[4], const bf16 *row, bool transposed) {
    int warp = threadIdx.x / LANES, lane = threadIdx.x % LANES;
    if ((std::size_t)row % 16 != 0) std::abort();
    rows[warp][lane] = row;
    meet_warp();
    for (int matrix = 0; matrix < 4; matrix++) {
        unsigned int both[2];
        for (int i = 0; i < 2; i++) {
            int along = lane % 4 * 2 + i, across = lane / 4;
            int line = transposed ? along : across, column = transposed ? across : along;
            both[i] = rows[warp][matrix * 8 + line][column].bits;
        }
        x[matrix] = both[0] | both[1] << 16;
    }
    meet_warp();
}

static void warp_load(unsigned int (&x)[4], const bf16 *row) { load_four(x, row, false); }

static void warp_load_transposed(unsigned int (&x)[4], const bf16 *row) { load_four(x, row, true); }

static float warp_exchange(float x, int distance) {
    int warp = threadIdx.x / LANES, lane = threadIdx.x % LANES;
    floats[warp][lane] = x;
    meet_warp();
    float other = floats[warp][lane ^ distance];
    meet_warp();
    return other;
}

#define EMULATED_WARPS
#include FLASH

// Returns 0, or 1 for a name that no kernel has.
extern "C" int launch(
    const char *name, unsigned int grid_x, unsigned int grid_y, unsigned int threads,
    void **arguments
) {
    static std::mutex one_at_a_time;
    std::lock_guard<std::mutex> guard(one_at_a_time);
    auto found = kernels().find(name);
    if (found == kernels().end()) return 1;
    blockDim = {threads, 1};
    gridDim = {grid_x, grid_y};
    auto run = [&](unsigned int thread) {
        threadIdx = {thread, 0};
        for (unsigned int y = 0; y < grid_y; y++) {
            for (unsigned int x = 0; x < grid_x; x++) {
                blockIdx = {x, y};
                found->second(arguments);
                __syncthreads();
            }
        }
    };
    if (threads == 1) {
        run(0);
        return 0;
    }
    meeting = std::make_unique<std::barrier<>>(threads);
    for (auto &warp : warps) warp = std::make_unique<std::barrier<>>(LANES);
    std::vector<std::thread> all;
    for (unsigned int thread = 0; thread < threads; thread++) all.emplace_back(run, thread);
    for (std::thread &thread : all) thread.join();
    return 0;
}
