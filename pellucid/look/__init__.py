"""The page with a model behind it: ``pellucid look``."""
