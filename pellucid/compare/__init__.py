"""Claims about networks, put to the test: each an experiment with a rule that stands before the run, and a report after it."""
