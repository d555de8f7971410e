"""What became of a folder's photos, on the terminal."""

from rich.console import Console
from rich.text import Text

from services.population.faces import Tally
from services.text import plain

MOST_LISTED = 50  # bad photos


def show_photos(tally: Tally, console: Console) -> None:
    """What became of the photos; the bad ones one a line."""
    for path, reason in sorted(tally.bad)[:MOST_LISTED]:
        console.print(Text.assemble(("bad", "red"), f" {plain(str(path))}: {plain(reason)}"), soft_wrap=True)
    if len(tally.bad) > MOST_LISTED:
        console.print(f"... and {len(tally.bad) - MOST_LISTED} more bad ones")
    console.print(
        f"photos read {tally.photos} (without a face {tally.faceless}, with several {tally.crowded}), "
        f"bad {len(tally.bad)}; faces used {tally.faces}, passed over {tally.unfit} "
        "(too small, uncertain, or turned away)",
        soft_wrap=True,
        highlight=False,
    )
