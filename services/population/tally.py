"""What became of a folder's photos, on the terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from services.population.faces import Tally
from services.text import plain

MOST_LISTED = 50  # bad photos


def show_photos(tally: Tally, console: Console) -> None:
    """What became of the photos; the bad ones one a line."""
    show_bad([("bad", str(path), reason) for path, reason in sorted(tally.bad)], console)
    console.print(
        f"photos read {tally.photos} (without a face {tally.faceless}, with several {tally.crowded}), "
        f"bad {len(tally.bad)}; faces used {tally.faces}, passed over {tally.unfit} "
        "(too small, uncertain, or turned away)",
        soft_wrap=True,
        highlight=False,
    )


def show_bad(photos: Sequence[tuple[str, str, str]], console: Console) -> None:
    """Photos that are not used, one a line: (what is wrong in a word, the photo, why)."""
    for word, photo, reason in photos[:MOST_LISTED]:
        console.print(Text.assemble((word, "red"), f" {plain(photo)}: {plain(reason)}"), soft_wrap=True)
    if len(photos) > MOST_LISTED:
        console.print(f"... and {len(photos) - MOST_LISTED} more bad ones")
