"""The search for an output, over the contract's step."""
