"""The whole online flow: decode -> detect -> align -> embed -> look up -> synthesise -> blend -> encode."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from services import metrics
from services.anonymizer.align import FFHQ_LANDMARKS, misfit
from services.anonymizer.blend import blend
from services.anonymizer.decode import Photo, PhotoFormat, decode
from services.anonymizer.detect import Face, detect
from services.anonymizer.embed import embed
from services.anonymizer.encode import encode
from services.anonymizer.latents import check_chosen
from services.anonymizer.lookup import Assignment, LookUp
from services.anonymizer.models import Models
from services.anonymizer.readiness import Readiness, check_models
from services.anonymizer.synthesise import Surrogates
from services.anonymizer.triton import Triton
from services.errors import NoFaceFound, StrangerRefused, TooManyFaces
from services.population.index import ClusterIndex
from services.settings import NoFacePolicy, Settings, StrangerPolicy

MAX_MISFIT = 0.55  # landmarks that a frontal face cannot explain: a profile, or no face


@dataclass(frozen=True)
class Options:
    """What one request may choose; None takes the service's setting."""

    output: PhotoFormat | None = None  # None: the photo's own format
    no_face: NoFacePolicy | None = None
    stranger: StrangerPolicy | None = None
    chosen: Mapping[str, str] = field(default_factory=dict)  # inputs of the generator: {"emotion": "happy"}


@dataclass(frozen=True)
class Seen:
    """One face after look-up: which crowd it is given, or why it is masked."""

    face: Face
    assignment: Assignment | None
    masked: str | None  # too_small, uncertain, turned_away, stranger; None: replaced


@dataclass(frozen=True)
class Anonymised:
    """A finished photo and what was done to it."""

    data: bytes
    format: PhotoFormat
    faces: list[Seen]

    def count(self, what: str) -> int:
        """How many faces became `enrolled`, `stranger` (both replaced), or `masked`.

        Where nobody can be recognised, a face counts as a stranger: no k is claimed for it.
        """
        return Counter(_outcome(seen) for seen in self.faces)[what]


def _outcome(seen: Seen) -> str:
    if seen.masked or seen.assignment is None:
        return "masked"
    return "enrolled" if seen.assignment.enrolled else "stranger"


@contextmanager
def _stage(name: str) -> Iterator[None]:
    start = perf_counter()
    try:
        yield
    finally:
        metrics.STAGE_SECONDS.labels(name).observe(perf_counter() - start)


class Pipeline:
    """One photo through, for one version of an index and one set of models. All failures are raised, never passed over.

    Making one takes seconds if the index is large.
    """

    def __init__(self, settings: Settings, models: Models, index: ClusterIndex, triton: Triton):
        self.settings, self.models, self.index, self.triton = settings, models, index, triton
        self.look_up = LookUp(index, settings.identity_threshold or index.identity_threshold)
        self.readiness = Readiness(lambda: check_models(index, models, triton), settings.ready_ttl_s)
        self.surrogates = Surrogates(index.crowds, triton, models.generator, settings.surrogate_cache_bytes)

    async def anonymise(self, data: bytes, options: Options) -> Anonymised:
        """Replaces every face of a photo by the surrogate of its crowd.

        Args:
            data: the photo's bytes, JPEG, PNG or WebP.

        Raises:
            BadRequest: the generator has not what was chosen.
            UnsupportedMediaType, BadPhoto, PhotoTooLarge: the photo.
            NoFaceFound, StrangerRefused, TooManyFaces: by policy.
            ModelServerUnavailable, DeadlineExceeded: the models.
        """
        check_chosen(self.models.generator, options.chosen)
        photo = await self._decode(data)
        faces = await self._see(photo, options)
        replaced = [seen for seen in faces if seen.masked is None and seen.assignment is not None]
        masked = [seen.face for seen in faces if seen.masked is not None or seen.assignment is None]
        with _stage("synthesise"):
            surrogates = await self.surrogates.get(
                [seen.assignment.crowd for seen in replaced if seen.assignment], options.chosen
            )
        with _stage("blend"):
            pairs = [(seen.face, surrogate) for seen, surrogate in zip(replaced, surrogates, strict=True)]
            pixels = await asyncio.to_thread(blend, photo.pixels, pairs, masked)
        form = options.output or photo.format
        with _stage("encode"):
            result = await asyncio.to_thread(encode, pixels, form, self.settings.jpeg_quality, photo.grey)
        for seen in faces:
            metrics.FACES.labels(_outcome(seen)).inc()
        return Anonymised(result, form, faces)

    async def inspect(self, data: bytes) -> tuple[Photo, list[Seen]]:
        """What `anonymise` would do to each face, without doing it. Refuses no photo by policy."""
        photo = await self._decode(data)
        strangers: StrangerPolicy = "mask" if self.settings.stranger == "mask" else "assign"
        return photo, await self._see(photo, Options(no_face="pass", stranger=strangers))

    async def _decode(self, data: bytes) -> Photo:
        with _stage("decode"):
            s = self.settings
            return await asyncio.to_thread(decode, data, s.max_pixels, s.min_side_px, s.max_side_px)

    async def _see(self, photo: Photo, options: Options) -> list[Seen]:
        """detect -> align, embed -> look up, then the policies."""
        s = self.settings
        with _stage("detect"):
            faces = await detect(photo.pixels, self.triton, self.models.detector, s.detect_score, s.detect_min_px)
        if not faces and (options.no_face or s.no_face) == "refuse":
            raise NoFaceFound("no face was found in the photo; the policy is to refuse such photos (no_face=pass)")
        if len(faces) > s.max_faces:
            raise TooManyFaces(f"{len(faces)} faces were found; at most {s.max_faces} are served in one photo")
        reasons = [self._unfit(face) for face in faces]
        fit = [face for face, reason in zip(faces, reasons, strict=True) if reason is None]
        with _stage("embed"):
            landmarks = np.array([face.landmarks for face in fit]).reshape(-1, 5, 2)
            embeddings = await embed(photo.pixels, landmarks, self.triton, self.models.embedder)
        with _stage("look_up"):
            assignments = iter(await self._look_up(embeddings))
        seen = []
        for face, reason in zip(faces, reasons, strict=True):
            assignment = next(assignments) if reason is None else None
            if assignment is not None:
                reason = self._masked(assignment, options)
            seen.append(Seen(face, assignment, reason))
        return seen

    async def _look_up(self, embeddings: np.ndarray) -> list[Assignment]:
        if self.look_up.is_quick(len(embeddings)):
            return self.look_up(embeddings)
        return await asyncio.to_thread(self.look_up, embeddings)

    def _unfit(self, face: Face) -> str | None:
        """Why a face cannot be replaced; None if it can."""
        if face.side < self.settings.replace_min_px:
            return "too_small"
        if face.score < self.settings.replace_score or not face.confirmed:
            return "uncertain"
        if misfit(FFHQ_LANDMARKS, face.landmarks) > MAX_MISFIT:
            return "turned_away"
        return None

    def _masked(self, assignment: Assignment, options: Options) -> str | None:
        """Why a face that could be replaced is masked; None if it is not. Who cannot be recognised is a stranger."""
        policy = options.stranger or self.settings.stranger
        if assignment.enrolled or policy == "assign":
            return None
        if policy == "mask":
            return "stranger"
        why = "a face belongs to nobody enrolled"
        if self.look_up.resolution == "nearest-only":
            why = "the enrolment map is not loaded, so that every face counts as a stranger's"
        raise StrangerRefused(f"{why}; the policy is to refuse such photos")
