"""Side-by-side measurements against peers. Nothing here is part of the installed package."""
