"""What all tests share."""

from hypothesis import settings

# A shared machine can stall any example; no property here is about time.
settings.register_profile("pellucid", deadline=None)
settings.load_profile("pellucid")
