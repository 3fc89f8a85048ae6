"""The Transformer, box by box."""
