"""Latents: what a generator makes a picture of. One w for all layers or one per layer, and truncation."""

from collections.abc import Mapping

import numpy as np

from services.anonymizer.models import Generator
from services.errors import BadRequest

PSI = 0.7  # truncation: people look real, and still differ


def truncate(w: np.ndarray, w_mean: np.ndarray, psi: float = PSI, cutoff: int | None = None) -> np.ndarray:
    """Moves w towards the average face: less variety, fewer broken pictures.

    Args:
        w: float32 [n, dlatent], or [n, layers, dlatent].
        w_mean: float32 [dlatent], the average in the model's card.
        psi: how much of the distance to the average is left, usually 0.5 to 1.
        cutoff: only the first so many layers, for w with layers; None: all.

    Returns:
        float32, the shape of w.
    """
    shrunk = w_mean + np.float32(psi) * (w - w_mean)
    if cutoff is not None and w.ndim == 3:
        shrunk[:, cutoff:] = w[:, cutoff:]
    return np.asarray(shrunk, np.float32)


def broadcast(w: np.ndarray, generator: Generator) -> np.ndarray:
    """`w float32 [n, dlatent]` -> latents of that generator, float32 [n, *latent_shape]: the same w in every layer.

    Raises:
        ValueError: the generator's latents have another length.
    """
    shape = generator.latent_shape
    if w.shape[-1] != shape[-1]:
        raise ValueError(f"{generator.name} takes latents of {shape[-1]} values, not {w.shape[-1]}")
    if w.ndim - 1 == len(shape):
        return w
    return np.ascontiguousarray(np.broadcast_to(w[:, None, :], (len(w), *shape)))


def inputs_of(latents: np.ndarray, generator: Generator, chosen: Mapping[str, str]) -> dict[str, np.ndarray]:
    """What the generator's model is fed: the latents, what is always fed the same, and what was chosen.

    Args:
        latents: float32 [n, *latent_shape], or flat [n, latent_dims] as an index keeps them.
        chosen: input -> name of one of its values; others take their default.

    Returns:
        Arrays by input name, the first axis that of the latents.

    Raises:
        BadRequest: the generator has no such input, or no value of that name.
    """
    n = len(latents)
    feed = {generator.latent: np.asarray(latents, np.float32).reshape(n, *generator.latent_shape)}
    feed |= {name: np.tile(np.array(values, np.float32), (n, 1)) for name, values in generator.fixed.items()}
    check_chosen(generator, chosen)
    for name, choice in generator.choices.items():
        value = chosen.get(name, choice.default)
        feed[name] = np.tile(np.array(choice.values[value], np.float32), (n, 1))
    return feed


def check_chosen(generator: Generator, chosen: Mapping[str, str]) -> None:
    """Refuses what a generator does not offer.

    Raises:
        BadRequest: it has no such input, or no value of that name; says which there are.
    """
    for name, value in chosen.items():
        if name not in generator.choices:
            raise BadRequest(f"{name} cannot be chosen: the generator {generator.name} has no such input")
        if value not in generator.choices[name].values:
            known = ", ".join(generator.choices[name].values)
            raise BadRequest(f"{name}={value[:60]!r} is not known; there are {known}")
