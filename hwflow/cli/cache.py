"""`hwflow cache`."""

from __future__ import annotations

import typer

cache = typer.Typer(help="The result store: location, size, clearing.", no_args_is_help=True, rich_markup_mode=None)


@cache.command("info")
def cache_info() -> None:
    """Path, size and number of results by kind."""
    from hwflow.cli.console import deliver_text, say
    from hwflow.store import Store

    store = Store()
    info = store.info()
    store.close()
    lines = [
        f"path      {info.path}",
        f"size      {info.size_bytes / 1e3:,.1f} kB",
        f"writable  {'yes' if info.writable else 'no'}",
    ]
    lines += [f"{kind.ljust(8)}  {count:,} results" for kind, count in info.entries.items()]
    if not info.entries:
        lines.append("empty")
    deliver_text("\n".join(lines) + "\n")
    for notice in store.notices:
        say(notice)


@cache.command("clear")
def cache_clear() -> None:
    """Remove all results."""
    from hwflow.cli.console import deliver_text
    from hwflow.store import Store

    store = Store()
    removed = store.clear()
    deliver_text(f"removed {removed:,} results from {store.path}\n")
    store.close()
