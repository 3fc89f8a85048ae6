"""``pellucid look``."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import click

from pellucid.cli.options import common


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--text", help="What to look at first: a text, or the path of a picture.")
@click.option("--with", "second", type=click.Path(path_type=Path), help="A second model, for the view that compares.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Default: any that is free.")
@click.option("--browser/--no-browser", default=True, help="Open the page in the browser.", show_default=True)
@common
def look(model: Path, text: str | None, second: Path | None, port: int, browser: bool) -> None:
    """Look inside MODEL on a page in the browser: every step, every number, attention, what might come next.

    The page is served to this machine alone, until Ctrl-C.
    """
    from pellucid.look.desk import Desk
    from pellucid.look.others import Others
    from pellucid.look.server import Server
    from pellucid.tasks.load import load
    from pellucid.tasks.needs import need

    desk = Desk(need(load(model), "explain", model), model)
    others = Others(desk, model, need(load(second), "explain", second) if second else None, str(second or ""))
    with Server(desk, port, text, others.answers) as server:
        click.echo(f"{server.url}  (Ctrl-C stops)")
        if browser:
            webbrowser.open(server.url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            click.echo("stopped", err=True)
