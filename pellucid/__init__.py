"""The Transformer, clear enough to see through: train it, use it, look inside it."""

__version__ = "0.1.0"
