"""Fixed-pattern sparse linear algebra over lanes: ordering, symbolic analysis, SIMD values."""
