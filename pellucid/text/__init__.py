"""Tokenizers and text metrics."""
