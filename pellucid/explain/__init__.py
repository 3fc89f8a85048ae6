"""See through a model: every number named, shown, checked by hand, and changed."""
