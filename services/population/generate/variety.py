"""What makes several photos of one person: pose and expression, and what of a picture is not the face.

The directions come from the inversion that ships. It is linear: (embedding, pose) -> w. So its rows for the pose say
how w moves when a head turns or smiles while the embedding stays; and its rows for the embedding span what w has to do
with who somebody is. Whatever moves along neither in the metric of w's own spread (hair, clothes, background, light)
may change from photo to photo.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.anonymizer.align import FFHQ_LANDMARKS, pose_of
from services.anonymizer.latents import truncate
from services.anonymizer.models import Inverter
from services.anonymizer.triton import Triton
from services.population.sample import Sampler, map_z

# How far the landmarks stand out towards the camera, in sides of FFHQ's picture: eyes, nose, corners of the mouth.
DEPTH = np.array([0.0, 0.0, 0.12, 0.03, 0.03])
SMILE = np.array([(-0.02, -0.012), (0.02, -0.012)])  # where a full smile takes the corners of the mouth
YAW, PITCH, SMILES = 25.0, 10.0, (-0.6, 0.8)  # degrees either way; beyond these smiles people change their age
# Shares of what the fit says, chosen by eye and by distances: of six people with six photos each, 99 % of the pairs of
# one person are within 0.6, and 90 % of those of two beyond.
STRENGTH, MOOD = 0.7, 0.35
SAMPLES = 4000  # for the spread of w
RIDGE = 1e-6


@dataclass(frozen=True)
class Look:
    """How somebody shows in one photo; all 0: as they were sampled."""

    yaw: float = 0.0  # degrees; positive: towards the picture's right
    pitch: float = 0.0  # degrees; positive: upwards
    smile: float = 0.0  # 1: a full one; negative: the corners of the mouth hang


@dataclass(frozen=True)
class Variety:
    """Directions in the w of one generator."""

    pose: np.ndarray  # float64 [10, w], what a unit of each number of a pose moves
    mood: np.ndarray  # float64 [w, w], takes away what has to do with who somebody is
    mean: np.ndarray  # float32 [w]

    @staticmethod
    async def learn(sampler: Sampler, inverter: Inverter, dims: int, triton: Triton, seed: int) -> "Variety":
        """Reads the directions off a served inversion.

        Args:
            dims: of the embedding that the inversion takes.

        Raises:
            ModelServerUnavailable, DeadlineExceeded: Triton's failures.
        """
        units = np.vstack([np.zeros((1, dims + 10)), np.eye(dims + 10)]).astype(np.float32)
        (answers,) = await triton.infer(inverter.model, {"embedding": units[:, :dims], "pose": units[:, dims:]}, "w")
        rows = (answers[1:] - answers[0]).astype(np.float64)
        z = np.random.default_rng([seed, SAMPLES]).standard_normal((SAMPLES, sampler.generator.z_dims), np.float32)
        w = await map_z(z, sampler.generator, triton)
        spread = np.cov(w.T.astype(np.float64)) + RIDGE * np.eye(w.shape[1])
        who = rows[:dims]
        weighed = np.linalg.solve(spread, who.T)  # [w, dims]
        onto = weighed @ np.linalg.solve(who @ weighed, who)
        return Variety(rows[dims:], np.eye(w.shape[1]) - onto, sampler.w_mean)

    def moves(self, looks: Sequence[Look], w: np.ndarray) -> np.ndarray:
        """How far from a person's latent each photo is: float32 [n, w].

        Args:
            looks: n of them.
            w: float32 [n, w], of other people, whose hair, background and light it is.
        """
        poses = np.array([landmarks_of(look) for look in looks])
        turned = (pose_of(poses) - pose_of(landmarks_of(Look())[None])) @ self.pose
        others = (truncate(w, self.mean) - self.mean).astype(np.float64) @ self.mood
        return (STRENGTH * turned + MOOD * others).astype(np.float32)


def landmarks_of(look: Look) -> np.ndarray:
    """Where the landmarks of an average face are in FFHQ's picture, turned and smiling so: float64 [5, 2]."""
    middle = FFHQ_LANDMARKS.mean(axis=0)
    points = np.column_stack([FFHQ_LANDMARKS - middle, DEPTH])
    yaw, pitch = np.radians([look.yaw, look.pitch])
    sideways = np.array([(np.cos(yaw), 0, np.sin(yaw)), (0, 1, 0), (-np.sin(yaw), 0, np.cos(yaw))])
    upwards = np.array([(1, 0, 0), (0, np.cos(pitch), -np.sin(pitch)), (0, np.sin(pitch), np.cos(pitch))])
    flat = (points @ (upwards @ sideways).T)[:, :2] + middle
    flat[3:] += look.smile * SMILE
    return flat


def draw_looks(count: int, rng: np.random.Generator) -> list[Look]:
    """Looks of one person: the first as they were sampled, the others at random."""
    low, high = (-YAW, -PITCH, SMILES[0]), (YAW, PITCH, SMILES[1])
    rows = rng.uniform(low, high, (max(0, count - 1), 3))
    return [Look(), *(Look(*map(float, row)) for row in rows)][:count]
