"""The contenders, one file each. :mod:`benchmarks.contender` says how they are called."""
