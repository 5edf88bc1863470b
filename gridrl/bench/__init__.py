"""Benchmarks: the same problems to us and to others, results compared before they are timed.

Suites (``benchmarks/suites``) and the adapters to other programs (``benchmarks/peers``) lie in the
repository, not in the package: `gridrl bench` runs from a checkout.
"""
