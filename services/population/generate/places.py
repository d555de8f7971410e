"""Where generated photos are put, so that they lie as those of a known data set do."""

from collections.abc import Iterator, Sequence
from typing import Literal

from services.population.demo import person_name
from services.population.generate.layouts import CELEBA_ATTRIBUTES, CELEBA_PHOTOS, CELEBA_WHO
from services.population.generate.variety import Look

Shape = Literal["folders", "lfw", "celeba", "rafd"]
# RaFD has one photo for each camera and emotion; cameras stand at 0 to 180 degrees, 90 is frontal.
RAFD_CAMERAS = {"090": 0.0, "045": 20.0, "135": -20.0}
RAFD_EMOTIONS = {"neutral": 0.0, "happy": 0.8, "sad": -0.6}
RAFD_LOOKS = {
    (camera, emotion): Look(yaw, 0.0, smile)
    for emotion, smile in RAFD_EMOTIONS.items()
    for camera, yaw in RAFD_CAMERAS.items()
}


def place(shape: Shape, person: int, take: int, photos: int) -> str:
    """The path of a photo.

    Args:
        take: number of the photo among the person's, from 0.
        photos: of each person.
    """
    if shape == "lfw":
        name = f"Person_{person:05d}"
        return f"{name}/{name}_{take + 1:04d}.jpg"
    if shape == "celeba":
        return f"{CELEBA_PHOTOS}/{celeba_number(person, take, photos)}"
    if shape == "rafd":
        camera, emotion = list(RAFD_LOOKS)[take]
        return f"Rafd{camera}_{person + 1:02d}_Nobody_unknown_{emotion}_frontal.jpg"  # generated: of no group
    return f"{person_name(person)}/{take + 1:04d}.jpg"


def identity(shape: Shape, person: int) -> str:
    """What the layout calls a person, as `read_labels` has it."""
    names = {"lfw": f"Person_{person:05d}", "celeba": str(person + 1), "rafd": f"rafd-{person + 1:02d}"}
    return names.get(shape, person_name(person))


def celeba_number(person: int, take: int, photos: int) -> str:
    return f"{person * photos + take + 1:06d}.jpg"


def beside(shape: Shape, looks: Sequence[Sequence[Look]]) -> Iterator[tuple[str, str]]:
    """Further files that the layout has: name and text.

    Args:
        looks: of each person, one a photo.
    """
    if shape != "celeba":
        return
    rows = [(person, take, look) for person, takes in enumerate(looks) for take, look in enumerate(takes)]
    names = [celeba_number(person, take, len(looks[person])) for person, take, _ in rows]
    yield CELEBA_WHO, "".join(f"{name} {person + 1}\n" for name, (person, _, _) in zip(names, rows, strict=True))
    marks = "".join(f"{name} {1 if look.smile > 0 else -1}\n" for name, (_, _, look) in zip(names, rows, strict=True))
    yield CELEBA_ATTRIBUTES, f"{len(rows)}\nSmiling\n{marks}"
