"""A model repository on a volume that may be empty: what an image carries, and what is fetched and converted for it."""

import shutil
from collections.abc import Callable
from pathlib import Path

from conversion.catalogue import Catalogue
from conversion.registry import RECIPES
from conversion.repository import convert, is_current
from conversion.triton_config import CONFIG, GPU_CONFIG
from services.errors import ConfigurationError, ConversionError
from services.files import locked, replacing_directory, write_durably
from services.provenance import VERSION_FOLDER, check_model


def prepare(catalogue: Catalogue, carried: Path, repository: Path, tell: Callable[[str], None]) -> None:
    """Makes every model of the catalogue whole and current in `repository`, fetching only what that takes.

    Every file is compared with its hash each time. Models that are no row of the catalogue stay as they are.

    Args:
        carried: the committed repository: configurations, and models where an image was built with them.
        tell: gets one line for each row.

    Raises:
        ConfigurationError: `carried` holds no configuration.
        PopulationBusy: another process prepares the same repository.
        WeightsError, ConversionError: as pulling and converting do.
    """
    configs = sorted(carried.glob(f"*/{CONFIG}"))
    if not configs:
        raise ConfigurationError(f"{carried} holds no {CONFIG} of any model; name the project's model_repository")
    repository.mkdir(parents=True, exist_ok=True)
    with locked(repository / ".lock", str(repository)):
        for config in configs:
            _lay(config.parent, repository / config.parent.name)
        for row in RECIPES:
            if catalogue.left_out(row):
                tell(f"{row}: optional, left out")
            elif is_current(row, catalogue, repository):
                tell(f"{row}: whole and current")
            else:
                catalogue.pull(row)
                models = convert(row, catalogue, repository)
                tell(f"{row}: fetched, verified, converted to {', '.join(model.name for model in models)}")


def _lay(carried: Path, target: Path) -> None:
    """One model's configurations as this version has them, and its files where they are carried and not there yet."""
    for name in (CONFIG, GPU_CONFIG):
        want, place = (carried / name).read_bytes(), target / name
        if not (place.is_file() and place.read_bytes() == want):
            place.parent.mkdir(parents=True, exist_ok=True)
            fresh = place.with_name(f".{place.name}.new")
            fresh.unlink(missing_ok=True)  # of one that was killed
            write_durably(fresh, want)
            fresh.replace(place)
    if (carried / VERSION_FOLDER).is_dir() and not _same(carried, target):
        with replacing_directory(target / VERSION_FOLDER) as fresh:
            shutil.copytree(carried / VERSION_FOLDER, fresh, dirs_exist_ok=True)


def _same(carried: Path, target: Path) -> bool:
    """Whether the target's model is whole and is the one carried."""
    want = check_model(carried.parent, carried.name)
    try:
        return check_model(target.parent, target.name) == want
    except ConversionError:
        return False
