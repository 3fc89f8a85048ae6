"""The Transformer, clear enough to see through: train it, use it, look inside it."""

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """``pellucid.load``, imported when it is asked for: it needs torch, and ``pellucid --help`` does not."""
    if name == "load":
        from pellucid.tasks.load import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
