"""The experiments, one a file: each has an ``EXPERIMENT``, and a line in :mod:`pellucid.compare.registry`."""
