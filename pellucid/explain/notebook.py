"""A trace as the output of a notebook's cell: the page in a frame, and the terminal's view for whoever cannot show it."""

from __future__ import annotations

from html import escape

from pellucid.explain.page import html
from pellucid.explain.recording import TraceTooLargeError
from pellucid.explain.terminal import Look, lines
from pellucid.explain.trace import Trace

HEIGHT = 720  # pixels
LIMIT = 8 * 2**20  # bytes of numbers: a notebook keeps its outputs


def bundle(trace: Trace) -> dict[str, str]:
    """The forms of a trace by their MIME types.

    The frame has no rights but to run its scripts: it can neither read the notebook nor ask for anything.
    """
    plain = "\n".join(lines(trace, Look(width=100, ink="shades")))
    try:
        page = html(trace, LIMIT)
    except TraceTooLargeError as error:
        return {"text/plain": f"{plain}\n\n{error}"}
    title = escape(f"a look inside: {trace.text}")
    style = f"width: 100%; height: {HEIGHT}px; border: 1px solid #b9b9b9"
    return {
        "text/html": f'<iframe title="{title}" sandbox="allow-scripts" style="{style}" srcdoc="{escape(page)}"></iframe>',
        "text/plain": plain,
    }
