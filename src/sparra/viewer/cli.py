"""The command `sparra view`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sparra import RESEARCH_USE_ONLY

console = Console(highlight=False, soft_wrap=True)


def view(
    study: Annotated[Path, typer.Argument(help="The study's YAML file, or its output folder.", show_default=False)],
    host: Annotated[str, typer.Option(help="Address to listen on; any but this machine's own needs a token.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = 8731,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the browser.")] = False,
) -> None:
    """Show slides, CTs, importance and follow-up of a study in the browser; stop with Ctrl+C."""
    import webbrowser

    from sparra.viewer.server import viewer
    from sparra.viewer.study import find_study

    with viewer(find_study(study), host, port) as server:
        console.print(f"{server.url}  (stop with Ctrl+C)", markup=False)
        if server.access.token is not None:
            console.print(
                "Open to other machines: who has the address above sees the study. It is not encrypted; "
                "prefer a tunnel (ssh -L) to the default address.",
                style="yellow",
            )
        console.print(RESEARCH_USE_ONLY)
        if open_browser:
            webbrowser.open(server.url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            console.print("stopped")
