"""Claims about networks, put to the test: each an experiment with a rule that stands before the run, and a report after it."""

import os

# PyTorch's profiler, which counts memory, reports each start and stop on stderr unless told before torch is first imported.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")
