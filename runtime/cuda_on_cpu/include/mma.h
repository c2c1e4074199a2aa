// <mma.h> for the CPU: the warp's matrix operations of nvcuda::wmma.
//
// CUDA leaves open which lane holds which element. Here each lane holds one of every 32 elements in row order, another
// one each time, so that no lane finds just what it wrote itself and hides a race.
#pragma once
#include "cuda_bf16.h"
#include "cuda_fp16.h"

namespace nvcuda {
namespace wmma {

struct matrix_a {};
struct matrix_b {};
struct accumulator {};
struct row_major {};
struct col_major {};
enum layout_t { mem_row_major, mem_col_major };
namespace precision {
struct tf32 {};
struct u4 {};
struct s4 {};
struct b1 {};
} // namespace precision

inline float __float_to_tf32(float value) {
    return __uint_as_float((__float_as_uint(value) + 0x1000u) & 0xffffe000u);
}

template <class T> struct Stored {
    typedef T type;
};
template <> struct Stored<precision::tf32> {
    typedef float type;
};
template <class Use, int m, int n, int k> struct Extent;
template <int m, int n, int k> struct Extent<matrix_a, m, n, k> {
    static constexpr int rows = m, columns = k;
};
template <int m, int n, int k> struct Extent<matrix_b, m, n, k> {
    static constexpr int rows = k, columns = n;
};
template <int m, int n, int k> struct Extent<accumulator, m, n, k> {
    static constexpr int rows = m, columns = n;
};

template <class T, int m, int n, int k> constexpr bool is_a_shape() {
    if (std::is_same<T, precision::tf32>::value) return m == 16 && n == 16 && k == 8;
    if (std::is_same<T, double>::value) return m == 8 && n == 8 && k == 4;
    return k == 16 && ((m == 16 && n == 16) || (m == 32 && n == 8) || (m == 8 && n == 32));
}

template <class Use, int m, int n, int k, class T, class Layout = void> struct fragment {
    typedef typename Stored<T>::type element_type;
    typedef element_type storage_element_type;
    static constexpr int rows = Extent<Use, m, n, k>::rows, columns = Extent<Use, m, n, k>::columns;
    static constexpr int num_elements = rows * columns / 32;
    static_assert(std::is_same<Use, accumulator>::value || is_a_shape<T, m, n, k>(), "no shape of a matrix operation");
    static_assert(std::is_same<Use, accumulator>::value != !std::is_void<Layout>::value
                      || std::is_same<Use, accumulator>::value, "an operand needs a layout");
    element_type x[num_elements];
};

inline int lane() {
    const cuda_on_cpu_index thread = threadIdx, size = blockDim;
    return int((thread.x + size.x * (thread.y + size.y * thread.z)) & 31);
}

CUDA_ON_CPU_PLAIN inline int lane_of(int place) { return (place - 13 - 7 * (place / 32)) & 31; }

// What all loads and stores ask of their operands; the whole warp must come with the same ones.
template <class T> struct Operands {
    const void* pointer;
    unsigned stride;
    int line;

    CUDA_ON_CPU_PLAIN static void agree(void** operands, unsigned) {
        const auto* first = static_cast<const Operands*>(operands[0]);
        for (int other = 1; other < 32; ++other) {
            const auto* given = static_cast<const Operands*>(operands[other]);
            if (given->pointer != first->pointer || given->stride != first->stride)
                cuda_on_cpu_wrong(WRONG_OPERAND, first->line, "lanes of a warp give different addresses or strides of a matrix");
        }
    }
    void check() {
        if (uintptr_t(pointer) % 32)
            cuda_on_cpu_wrong(MISALIGNED, line, "a matrix in memory must begin at a multiple of 32 bytes");
        if (stride * sizeof(T) % 16)
            cuda_on_cpu_wrong(WRONG_OPERAND, line, "the stride of a matrix must be a multiple of 16 bytes");
        cuda_on_cpu_call(agree, this, ~0u, line);
    }
};

template <class Fragment> CUDA_ON_CPU_PLAIN inline size_t offset_of(int element, unsigned stride, bool by_row) {
    const int place = element * 32 + (lane() + 13 + 7 * element) % 32, row = place / Fragment::columns, column = place % Fragment::columns;
    return by_row ? size_t(row) * stride + column : size_t(column) * stride + row;
}

template <class Fragment, class T>
CUDA_ON_CPU_PLAIN inline void load(Fragment& to, const T* from, unsigned stride, bool by_row, int line) {
    Operands<T>{from, stride, line}.check();
    for (int element = 0; element < Fragment::num_elements; ++element) {
        const T* place = from + offset_of<Fragment>(element, stride, by_row);
        cuda_on_cpu_access(place, sizeof(T), 0, line);
        to.x[element] = *place;
    }
}

template <class Use, int m, int n, int k, class T, class Layout>
inline void load_matrix_sync(fragment<Use, m, n, k, T, Layout>& to, const typename Stored<T>::type* from,
                             unsigned stride, int line = __builtin_LINE()) {
    load(to, from, stride, std::is_same<Layout, row_major>::value, line);
}
template <int m, int n, int k, class T>
inline void load_matrix_sync(fragment<accumulator, m, n, k, T>& to, const T* from, unsigned stride, layout_t layout,
                             int line = __builtin_LINE()) {
    load(to, from, stride, layout == mem_row_major, line);
}

template <int m, int n, int k, class T>
CUDA_ON_CPU_PLAIN inline void store_matrix_sync(T* to, const fragment<accumulator, m, n, k, T>& from, unsigned stride,
                                                layout_t layout, int line = __builtin_LINE()) {
    typedef fragment<accumulator, m, n, k, T> Fragment;
    Operands<T>{to, stride, line}.check();
    for (int element = 0; element < Fragment::num_elements; ++element) {
        T* place = to + offset_of<Fragment>(element, stride, layout == mem_row_major);
        cuda_on_cpu_access(place, sizeof(T), 1, line);
        *place = from.x[element];
    }
}

template <class Use, int m, int n, int k, class T, class Layout>
inline void fill_fragment(fragment<Use, m, n, k, T, Layout>& to, typename Stored<T>::type value) {
    for (int element = 0; element < to.num_elements; ++element) to.x[element] = value;
}

// The operands of one lane, and the product that the last lane computes for all.
template <class D, class A, class B, class C> struct Product {
    D* d;
    const A* a;
    const B* b;
    const C* c;

    template <class Fragment> CUDA_ON_CPU_PLAIN static auto at(const Fragment* const* lanes, int row, int column) {
        const int place = row * Fragment::columns + column;
        return lanes[lane_of(place)]->x[place / 32];
    }
    CUDA_ON_CPU_PLAIN static void compute(void** operands, unsigned) {
        typedef typename std::conditional<std::is_same<typename D::element_type, half>::value, float,
                                          typename D::element_type>::type Sum;
        const A* a[32];
        const B* b[32];
        Product* lanes[32];
        for (int lane = 0; lane < 32; ++lane) {
            lanes[lane] = static_cast<Product*>(operands[lane]);
            a[lane] = lanes[lane]->a, b[lane] = lanes[lane]->b;
        }
        Sum sums[D::rows * D::columns];
        for (int place = 0; place < D::rows * D::columns; ++place) {
            Sum sum = Sum(lanes[lane_of(place)]->c->x[place / 32]);
            for (int k = 0; k < A::columns; ++k)
                sum += Sum(at(a, place / D::columns, k)) * Sum(at(b, k, place % D::columns));
            sums[place] = sum;
        }
        for (int place = 0; place < D::rows * D::columns; ++place)
            lanes[lane_of(place)]->d->x[place / 32] = typename D::element_type(sums[place]);
    }
};

template <int m, int n, int k, class TD, class TA, class LA, class TB, class LB, class TC>
inline void mma_sync(fragment<accumulator, m, n, k, TD>& d, const fragment<matrix_a, m, n, k, TA, LA>& a,
                     const fragment<matrix_b, m, n, k, TB, LB>& b, const fragment<accumulator, m, n, k, TC>& c,
                     int line = __builtin_LINE()) {
    typedef Product<fragment<accumulator, m, n, k, TD>, fragment<matrix_a, m, n, k, TA, LA>,
                    fragment<matrix_b, m, n, k, TB, LB>, fragment<accumulator, m, n, k, TC>> Operation;
    Operation operation = {&d, &a, &b, &c};
    cuda_on_cpu_call(Operation::compute, &operation, ~0u, line);
}

} // namespace wmma
} // namespace nvcuda
