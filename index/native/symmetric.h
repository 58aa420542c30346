#pragma once
#include <cstddef>

// Orthogonal matrices of doubles, by operations in a fixed order: the same bits on every machine, which no LAPACK promises.

// rows (n, n) of a random rotation from entries (n, n) drawn from a normal distribution, which it overwrites.
void rotation_of(double* entries, std::size_t n, double* rows);

// Eigenvalues (n,) of a symmetric matrix (n, n), which it overwrites, and the unit eigenvector of each as a row of (n, n).
// In no order. False: an entry is not finite.
bool eigen(double* matrix, std::size_t n, double* values, double* vectors);
