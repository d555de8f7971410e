"""What a population's folder says of itself: its models, which bind, and the names of people who were removed."""

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from services.errors import EnrolmentError
from services.files import FILE_NAME
from services.population.enroll.shards import replace_file

FORMAT = "anonfaces-population-1"
ABOUT, REMOVED = "population.json", "removed.json"


@dataclass(frozen=True)
class About:
    """What population.json says. The models bind: rows of others would mean nothing beside these."""

    made_with: dict[str, Any]
    dims: int  # of an embedding
    latent_dims: int  # 0: no latents are known
    options: dict[str, Any] = field(default_factory=dict)  # of the last enrolment
    generation: int = 1  # shards of another one do not count
    finished: bool = False  # no enrolment was begun and not ended
    format: str = FORMAT


def population_folder(name: str, populations: Path) -> Path:
    """The folder of a population. Raises EnrolmentError if that is no name for one."""
    if not re.fullmatch(FILE_NAME, name):
        raise EnrolmentError(f"{name!r} cannot name a population; take letters, digits, '-', '_' and '.'")
    return populations / name


def read_about(folder: Path) -> About:
    """Reads population.json.

    Raises:
        EnrolmentError: there is no population, or one that this version does not know.
    """
    try:
        told = json.loads((folder / ABOUT).read_text())
        if told["format"] != FORMAT:
            raise EnrolmentError(f"{folder} is a population of format {told['format']!r}; this version reads {FORMAT}")
        return About(**told)
    except FileNotFoundError:
        raise EnrolmentError(f"there is no population in {folder}; `anonfaces population enroll` makes one") from None
    except (OSError, ValueError, KeyError, TypeError) as damaged:
        raise EnrolmentError(f"{folder / ABOUT} cannot be read ({damaged}); put it back from a copy") from damaged


def read_removed(folder: Path) -> tuple[set[str], bool]:
    """Names of people who were removed, and whether all that was stored of them is erased."""
    try:
        told = json.loads((folder / REMOVED).read_text())
        return set(told["identities"]), bool(told["erased"])
    except FileNotFoundError:
        return set(), True
    except (OSError, ValueError, KeyError, TypeError) as damaged:
        raise EnrolmentError(f"{folder / REMOVED} cannot be read ({damaged}); put it back from a copy") from damaged


def write_about(folder: Path, about: About) -> None:
    """Writes population.json, whole or not at all."""
    replace_file(folder / ABOUT, _json(asdict(about)))


def write_removed(folder: Path, identities: set[str], erased: bool) -> None:
    """Writes the list of the removed, whole or not at all."""
    replace_file(folder / REMOVED, _json({"identities": sorted(identities), "erased": erased}))


def _json(told: dict[str, Any]) -> bytes:
    return (json.dumps(told, indent=1) + "\n").encode()


def check_bound(name: str, present: About, about: About) -> None:
    """Refuses rows of other models than those a population has.

    Raises:
        EnrolmentError: names what differs.
    """
    before, now = ({**told.made_with, "dims": told.dims, "latent_dims": told.latent_dims} for told in (present, about))
    files, others = before.pop("models_sha256", {}), now.pop("models_sha256", {})
    differ = [f"{part} {before.get(part)}, not {now.get(part)}" for part in now if before.get(part) != now.get(part)]
    changed = [model for model in sorted({*files, *others}) if files.get(model) != others.get(model)]
    if changed and not differ:
        differ = [f"another file of {', '.join(changed)}"]
    if differ:
        raise EnrolmentError(
            f"population {name} was enrolled with {'; '.join(differ)}: their vectors do not compare. Choose the models "
            "it was made with, or enrol everything under a new --name"
        )
