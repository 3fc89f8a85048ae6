"""What each use of a model needs: examples to tensors, loss, metric, and what a user calls."""
