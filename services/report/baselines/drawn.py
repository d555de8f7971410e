"""Faces drawn for one person each: their own, truncated, which is no crowd's; and somebody else's at random."""

from collections.abc import Mapping

import numpy as np

from services.anonymizer.align import pose_of
from services.anonymizer.embed import embed
from services.anonymizer.latents import PSI, truncate
from services.anonymizer.synthesise import Surrogate
from services.population.portrait import BATCH, read_portrait
from services.population.sample import map_z
from services.report.baselines.contract import First, Tools
from services.report.baselines.pictured import Pictured, surrogate_of
from services.report.faces import Faces

TRUNCATED, RANDOM = "one person, truncated", "random face"
ABOUT = {
    TRUNCATED: f"The person's own latent by the shipped inversion, at psi {PSI}, rendered: no crowd, so no k.",
    RANDOM: "A face drawn from the generator for each person, with nothing of anybody.",
}


async def truncated(faces: Faces, firsts: Mapping[int, First], tools: Tools) -> Pictured:
    """Each person's own face, nearer to the average. Raises Triton's failures."""
    assert tools.inverter is not None
    people = sorted(firsts)
    pictures = [(firsts[person].picture, firsts[person].landmarks[None].astype(np.float32)) for person in people]
    vectors = [(await embed(*one, tools.triton, tools.models.embedder))[0] for one in pictures]
    poses = pose_of(np.array([firsts[person].turned for person in people]))
    (w,) = await tools.triton.infer(tools.inverter.model, {"embedding": np.array(vectors), "pose": poses}, "w")
    return await _drawn(TRUNCATED, truncate(w, tools.sampler.w_mean), people, faces, tools)


async def random(faces: Faces, firsts: Mapping[int, First], tools: Tools) -> Pictured:
    """Another face for each person, always the same for a seed. Raises Triton's failures."""
    people = sorted(firsts)
    z = np.random.default_rng([tools.seed, len(people)]).standard_normal((len(people), tools.sampler.generator.z_dims))
    w = await map_z(z.astype(np.float32), tools.sampler.generator, tools.triton)
    return await _drawn(RANDOM, truncate(w, tools.sampler.w_mean), people, faces, tools)


async def _drawn(name: str, w: np.ndarray, people: list[int], faces: Faces, tools: Tools) -> Pictured:
    """Renders a face for each person; who has none that a detector finds is covered."""
    latents = tools.sampler.spread(w)
    by_person: dict[int, Surrogate] = {}
    for start in range(0, len(people), BATCH):
        images = await tools.sampler.pictures(latents[start : start + BATCH], tools.triton)
        for person, image in zip(people[start : start + BATCH], images, strict=True):
            portrait = await read_portrait(image, tools.triton, tools.models)
            if portrait is not None:
                by_person[person] = surrogate_of(person, image, portrait.landmarks, drawn=True)
    rows = enumerate(faces.identities.tolist())
    covered = len(people) - len(by_person)
    about = (
        f"{ABOUT[name]} {covered} people got none that a detector finds, and are covered." if covered else ABOUT[name]
    )
    return Pictured(name, about, {row: by_person[person] for row, person in rows if person in by_person})
