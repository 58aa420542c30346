#include "symmetric.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace {

// Eight sums, so that vectors may be used and the order does not depend on their width.
double dot(const double* a, const double* b, std::size_t n) {
    double sums[8] = {};
    std::size_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (std::size_t j = 0; j < 8; ++j) sums[j] += a[i + j] * b[i + j];
    for (std::size_t j = 0; i < n; ++i, ++j) sums[j] += a[i] * b[i];
    return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

void add(double factor, const double* from, std::size_t n, double* to) {
    for (std::size_t i = 0; i < n; ++i) to[i] += factor * from[i];
}

// Turns x (n,) into the vector v of a reflection x -> x - v (v . x) / half that maps x to (first, 0, ...). half is 0, and
// nothing is reflected, where x is 0.
struct Reflection {
    double first, half;
};

Reflection reflection(double* x, std::size_t n) {
    const double length = std::sqrt(dot(x, x, n));
    if (!(length > 0)) return {0, 0};
    const double first = x[0] > 0 ? -length : length;
    x[0] -= first;
    return {first, dot(x, x, n) / 2};
}

void reflect(const double* v, double half, std::size_t n, double* row) { add(-dot(v, row, n) / half, v, n, row); }

void identity(std::size_t n, double* rows) {
    std::fill(rows, rows + n * n, 0);
    for (std::size_t i = 0; i < n; ++i) rows[i * n + i] = 1;
}

// One step of the QL algorithm with implicit shifts on the tridiagonal rows l .. m, whose rotations turn `rows`.
void shift(double* diagonal, double* beside, std::size_t l, std::size_t m, double* rows, std::size_t n) {
    const double slope = (diagonal[l + 1] - diagonal[l]) / (2 * beside[l]);
    const double root = std::sqrt(slope * slope + 1);
    double g = diagonal[m] - diagonal[l] + beside[l] / (slope + (slope < 0 ? -root : root));
    double sine = 1, cosine = 1, moved = 0;
    for (std::size_t i = m; i-- > l;) {
        const double f = sine * beside[i], b = cosine * beside[i];
        const double length = std::sqrt(f * f + g * g);
        beside[i + 1] = length;
        if (!(length > 0)) {  // it has split
            diagonal[i + 1] -= moved;
            beside[m] = 0;
            return;
        }
        sine = f / length, cosine = g / length;
        g = diagonal[i + 1] - moved;
        const double turned = (diagonal[i] - g) * sine + 2 * cosine * b;
        moved = sine * turned;
        diagonal[i + 1] = g + moved;
        g = cosine * turned - b;
        double *upper = rows + i * n, *lower = upper + n;
        for (std::size_t k = 0; k < n; ++k) {
            const double held = lower[k];
            lower[k] = sine * upper[k] + cosine * held;
            upper[k] = cosine * upper[k] - sine * held;
        }
    }
    diagonal[l] -= moved;
    beside[l] = g;
    beside[m] = 0;
}

}  // namespace

void rotation_of(double* entries, std::size_t n, double* rows) {
    identity(n, rows);
    for (std::size_t i = n; i-- > 0;) {
        double* v = entries + i * n + i;
        const Reflection made = reflection(v, n - i);
        if (!(made.half > 0)) continue;
        for (std::size_t r = i; r < n; ++r) reflect(v, made.half, n - i, rows + r * n + i);
    }
}

bool eigen(double* matrix, std::size_t n, double* values, double* vectors) {
    constexpr double precision = std::numeric_limits<double>::epsilon();
    const std::size_t most_steps = 30 * n + 30;  // for each eigenvalue; two are usual
    std::vector<double> beside(n + 1), halves(n), p(n);
    // Householder's reflections make it tridiagonal: row i keeps the vector of its own.
    for (std::size_t i = 0; i + 1 < n; ++i) {
        const std::size_t left = n - i - 1;
        double* v = matrix + i * n + i + 1;
        const Reflection made = reflection(v, left);
        beside[i] = made.first, halves[i] = made.half;
        if (!(made.half > 0)) continue;
        const auto row = [&](std::size_t r) { return matrix + (i + 1 + r) * n + i + 1; };
        for (std::size_t r = 0; r < left; ++r) p[r] = dot(row(r), v, left) / made.half;
        add(-dot(v, p.data(), left) / (2 * made.half), v, left, p.data());
        for (std::size_t r = 0; r < left; ++r) {
            add(-v[r], p.data(), left, row(r));
            add(-p[r], v, left, row(r));
        }
    }
    for (std::size_t i = 0; i < n; ++i) values[i] = matrix[i * n + i];
    identity(n, vectors);
    for (std::size_t i = n; i-- > 0;) {
        if (!(halves[i] > 0)) continue;
        for (std::size_t r = i + 1; r < n; ++r)
            reflect(matrix + i * n + i + 1, halves[i], n - i - 1, vectors + r * n + i + 1);
    }
    // What is smaller than the roundings of the largest entries is noise: where vectors span few of many dimensions, most is.
    double size = 0;
    for (std::size_t i = 0; i < n; ++i) size = std::max(size, std::fabs(values[i]) + std::fabs(beside[i]));
    for (std::size_t l = 0; l < n; ++l) {
        for (std::size_t step = 0;; ++step) {
            std::size_t m = l;
            while (m + 1 < n && std::fabs(beside[m]) > precision * size) ++m;
            if (m == l) break;
            if (step == most_steps) return false;
            shift(values, beside.data(), l, m, vectors, n);
        }
    }
    for (std::size_t i = 0; i < n; ++i)
        if (!std::isfinite(values[i])) return false;
    return true;
}
