"""Studies of trained models with the project's own tools; each writes a page, pictures and figures to docs/studies."""
