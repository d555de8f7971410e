"""People who do not exist, drawn from a generator."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from services.anonymizer.latents import PSI, broadcast, truncate
from services.anonymizer.models import Generator, find_generator
from services.anonymizer.synthesise import render
from services.anonymizer.triton import Triton
from services.errors import ConversionError
from services.provenance import check_model

MAPPED = 128  # z that are under way


@dataclass(frozen=True)
class Sampler:
    """Draws latents of a generator, and renders them with it or with a smaller one of the same latents."""

    generator: Generator
    mean: np.ndarray  # float32 [l], the average latent

    @property
    def models(self) -> tuple[str, ...]:
        """The Triton models it needs."""
        return (self.generator.model, *filter(None, [self.generator.mapping]))

    @property
    def w_mean(self) -> np.ndarray:
        """float32 [w], the average of one layer."""
        return self.mean.reshape(self.generator.latent_shape)[-1] if self._has_layers else self.mean

    @property
    def _has_layers(self) -> bool:
        return len(self.generator.latent_shape) > 1

    def spread(self, w: np.ndarray) -> np.ndarray:
        """`w float32 [n, w]` -> latents float32 [n, l], flat: the same w in every layer."""
        return broadcast(w, self.generator).reshape(len(w), -1)

    async def latents(self, count: int, seed: int, triton: Triton, psi: float = PSI) -> np.ndarray:
        """Draws people: z standard normal -> w, truncated towards the mean, the same in all layers.

        The first rows for a seed do not depend on `count`. A generator without a mapping, the CNN, knows a fixed set
        of people: then these, in an order of the seed's, and no more than there are.

        Returns:
            float32 [count, l], flat.
        """
        rng = np.random.default_rng(seed)
        if self.generator.mapping is None:
            people = rng.permutation(self.generator.latent_dims)[:count]
            return np.eye(self.generator.latent_dims, dtype=np.float32)[people]
        z = rng.standard_normal((count, self.generator.z_dims), dtype=np.float32)
        w = await map_z(z, self.generator, triton)
        return truncate(self.spread(w), self.mean, psi)

    async def pictures(self, latents: np.ndarray, triton: Triton) -> np.ndarray:
        """Renders latents float32 [n, l]: uint8 [n, H, W, 3] RGB."""
        return await render(latents, triton, self.generator)


async def map_z(z: np.ndarray, generator: Generator, triton: Triton) -> np.ndarray:
    """`z float32 [n, z_dims]` -> w float32 [n, w], some at a time: a server's queue is not endless."""
    assert generator.mapping is not None
    parts = [z[start : start + MAPPED] for start in range(0, len(z), MAPPED)]
    return np.concatenate([(await triton.infer(generator.mapping, {"z": part}, "w"))[0] for part in parts])


def sampler_for(generator: Generator, repository: Path) -> Sampler:
    """The cheapest sampler of a generator's latents: people that are only embedded need no large picture.

    Raises:
        ConfigurationError, ConversionError: a model is not in the repository, or its card has no average.
    """
    used = find_generator(generator.preview, repository) if generator.preview else generator
    if used.mapping is None:
        return Sampler(used, np.full(used.latent_dims, 1 / used.latent_dims, np.float32))
    try:
        w_mean = np.array(check_model(repository, used.mapping)["card"]["w_mean"], np.float32)
        mean = broadcast(w_mean[None], used).reshape(-1)
    except (KeyError, ValueError) as missing:
        raise ConversionError(f"the card of {used.mapping} has no average w; convert it again") from missing
    return Sampler(used, mean)
