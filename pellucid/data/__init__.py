"""Readers, the memory-mapped store, batches, the built-in corpus."""
