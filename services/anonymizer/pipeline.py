"""The whole online flow: decode -> detect -> align -> embed -> look up -> synthesise -> blend -> encode."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from services import metrics, tracing
from services.anonymizer.align import FFHQ_LANDMARKS, misfit
from services.anonymizer.blend import blend
from services.anonymizer.decode import Photo, PhotoFormat, decode
from services.anonymizer.detect import Face, detect
from services.anonymizer.embed import embed
from services.anonymizer.encode import encode
from services.anonymizer.latents import check_chosen
from services.anonymizer.lookup import Assignment, LookUp
from services.anonymizer.models import EMOTION, Models
from services.anonymizer.options import KEEP, Options, SurrogateOptions
from services.anonymizer.readiness import Readiness, check_models
from services.anonymizer.synthesise import Surrogate, Surrogates
from services.anonymizer.threads import in_thread
from services.anonymizer.triton import Triton
from services.errors import BadRequest, FaceRefused, KNotMet, NoFaceFound, NotFound, StrangerRefused, TooManyFaces
from services.population.attributes import estimate
from services.population.compatibility import emotion_estimator, other_generators
from services.population.index import ClusterIndex
from services.settings import Settings, StrangerPolicy

MAX_MISFIT = 0.55  # landmarks that a frontal face cannot explain: a profile, or no face


@dataclass(frozen=True)
class Seen:
    """One face after look-up: which crowd it is given, or why it is masked."""

    face: Face
    assignment: Assignment | None
    masked: str | None  # too_small, uncertain, turned_away, stranger; None: replaced

    @property
    def outcome(self) -> str:
        """What became of it: enrolled or stranger (both replaced), or masked.

        Where nobody can be recognised, a face counts as a stranger: no k is claimed for it.
        """
        if self.masked or self.assignment is None:
            return "masked"
        return "enrolled" if self.assignment.enrolled else "stranger"


@dataclass(frozen=True)
class Anonymised:
    """A finished photo and what was done to it."""

    data: bytes
    format: PhotoFormat
    faces: list[Seen]

    def count(self, outcome: str) -> int:
        """How many faces became `enrolled`, `stranger`, or `masked`."""
        return Counter(seen.outcome for seen in self.faces)[outcome]


@contextmanager
def _stage(name: str) -> Iterator[None]:
    start = perf_counter()
    try:
        with tracing.span(name):
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
        self.emotions = emotion_estimator(settings, models)
        self.generators = {one.name: one for one in (models.generator, *other_generators(settings, models))}
        capacity = settings.surrogate_cache_bytes // len(self.generators)
        self.caches = {name: Surrogates(index.crowds, triton, one, capacity) for name, one in self.generators.items()}

    @property
    def surrogates(self) -> Surrogates:
        """Those of the generator that the index was made with."""
        return self.caches[self.models.generator.name]

    async def anonymise(self, data: bytes, options: Options) -> Anonymised:
        """Replaces every face of a photo by the surrogate of its crowd.

        Args:
            data: the photo's bytes, JPEG, PNG or WebP.

        Raises:
            BadRequest: the generator has not what was chosen, or a policy is laxer than allowed.
            UnsupportedMediaType, BadPhoto, PhotoTooLarge: the photo.
            NoFaceFound, FaceRefused, StrangerRefused, TooManyFaces: by policy.
            KNotMet, UnknownIdentity: the index.
            ModelServerUnavailable, DeadlineExceeded: the models.
        """
        options = self.check(options)
        photo = await self._decode(data)
        faces = await self._see(photo, options)
        replaced = [(seen.face, seen.assignment.crowd) for seen in faces if not seen.masked and seen.assignment]
        masked = [seen.face for seen in faces if seen.masked or not seen.assignment]
        with _stage("synthesise"):
            chosen = await self._chosen(photo, [face for face, _ in replaced], options)
            surrogates = await self._surrogates([crowd for _, crowd in replaced], chosen, options)
        with _stage("blend"):
            pairs = [(face, surrogate) for (face, _), surrogate in zip(replaced, surrogates, strict=True)]
            pixels = await in_thread(blend, photo.pixels, pairs, masked)
        form, grey = options.format or photo.format, photo.grey
        del photo  # a large one; encoding needs as much again
        with _stage("encode"):
            result = await in_thread(encode, pixels, form, options.quality or self.settings.jpeg_quality, grey)
        _count(faces)
        return Anonymised(result, form, faces)

    async def inspect(self, data: bytes) -> tuple[Photo, list[Seen]]:
        """What `anonymise` would do to each face, without doing it. Refuses no photo by policy."""
        photo = await self._decode(data)
        strangers: StrangerPolicy = "mask" if self.settings.stranger == "mask" else "assign"
        return photo, await self._see(photo, Options(no_face="pass", small_face="mask", stranger=strangers))

    async def look(self, data: bytes, options: Options) -> list[Seen]:
        """The faces of a photo as `anonymise` would treat them, policies applied. Raises as it does."""
        options = self.check(options)
        return await self._see(await self._decode(data), options)

    async def surrogate(self, crowd: int, options: SurrogateOptions) -> tuple[bytes, PhotoFormat]:
        """A crowd's face as a file.

        Raises:
            NotFound: the index has no such crowd.
            BadRequest: the generator has not what was chosen.
            ModelServerUnavailable, DeadlineExceeded: the models.
        """
        self._generator(options)
        if not 0 <= crowd < len(self.index.crowds):
            raise NotFound(f"there is no crowd {crowd}; this index has crowds 0 to {len(self.index.crowds) - 1}")
        (surrogate,) = await self._surrogates([crowd], [options.chosen], options)
        form: PhotoFormat = options.format or "png"
        return await in_thread(encode, surrogate.image, form, options.quality or self.settings.jpeg_quality), form

    def check(self, options: Options) -> Options:
        """The options with the operator's policies where none is chosen. Raises what can be known without the photo.

        Raises:
            BadRequest: the generator has not what was chosen, or a policy is laxer than allowed.
            KNotMet, UnknownIdentity: the index.
        """
        options = options.within(self.settings)
        self._generator(options)
        self._check_kept(options)
        if options.k is not None and self.look_up.resolution == "nearest-only":
            raise KNotMet("the enrolment map is not loaded, so that no k is claimed for anybody; leave k out")
        if options.k is not None and options.k > self.index.k:
            raise KNotMet(f"k = {options.k} was asked for; the index that is served has k = {self.index.k}")
        self.look_up.rows_of(options.identity)
        return options

    def _generator(self, options: SurrogateOptions) -> str:
        name = options.generator or self.models.generator.name
        if name not in self.generators:
            raise BadRequest(f"generator={name[:60]!r} is not served; there are {', '.join(self.generators)}")
        check_chosen(self.generators[name], options.chosen)
        return name

    def _check_kept(self, options: Options) -> None:
        if options.emotion != KEEP:
            return
        if EMOTION not in self.models.generator.choices:
            raise BadRequest(f"emotion=keep is not possible: {self.models.generator.name} has no such input")
        if self.emotions is None:
            raise BadRequest("emotion=keep needs a model that tells emotions, and none is installed; name an emotion")

    async def _chosen(self, photo: Photo, faces: list[Face], options: Options) -> list[dict[str, str]]:
        """What is chosen of the generator's inputs, for each face: the same for all, or what each face shows."""
        if options.emotion != KEEP or self.emotions is None:
            return [options.chosen] * len(faces)
        landmarks = np.array([face.landmarks for face in faces]).reshape(-1, 5, 2)
        shown = (await estimate(photo.pixels, landmarks, self.triton, [self.emotions]))[EMOTION]
        known = self.models.generator.choices[EMOTION].values
        return [{EMOTION: value} if value in known else {} for value in shown]  # "": nothing certain

    async def _surrogates(
        self, crowds: list[int], chosen: list[dict[str, str]], options: SurrogateOptions
    ) -> list[Surrogate]:
        return await self.caches[self._generator(options)].get(crowds, chosen)

    async def _decode(self, data: bytes) -> Photo:
        with _stage("decode"):
            s = self.settings
            return await in_thread(decode, data, s.max_pixels, s.min_side_px, s.max_side_px)

    async def _see(self, photo: Photo, options: Options) -> list[Seen]:
        """detect -> align, embed -> look up, then the policies."""
        s = self.settings
        with _stage("detect"):
            faces = await detect(photo.pixels, self.triton, self.models.detector, s.detect_score, s.detect_min_px)
        metrics.FACES_FOUND.inc(len(faces))
        if not faces and options.no_face == "refuse":
            raise NoFaceFound("no face was found in the photo; the policy is to refuse such photos (no_face=pass)")
        if len(faces) > s.max_faces:
            metrics.FACES.labels("refused").inc(len(faces))
            raise TooManyFaces(f"{len(faces)} faces were found; at most {s.max_faces} are served in one photo")
        reasons = [self._unfit(face) for face in faces]
        fit = [face for face, reason in zip(faces, reasons, strict=True) if reason is None]
        with _stage("embed"):
            landmarks = np.array([face.landmarks for face in fit]).reshape(-1, 5, 2)
            embeddings = await embed(photo.pixels, landmarks, self.triton, self.models.embedder)
        with _stage("look_up"):
            assignments = iter(await self._look_up(embeddings, options.identity))
        seen = []
        for face, reason in zip(faces, reasons, strict=True):
            assignment = next(assignments) if reason is None else None
            if assignment is not None and self._is_masked_stranger(assignment, options):
                reason = "stranger"
            seen.append(Seen(face, assignment, reason))
        self._refuse(seen, options)
        return seen

    async def _look_up(self, embeddings: np.ndarray, names: tuple[str, ...]) -> list[Assignment]:
        if self.look_up.is_quick(len(embeddings)):
            return self.look_up(embeddings, names)
        return await in_thread(self.look_up, embeddings, names)

    def _unfit(self, face: Face) -> str | None:
        """Why a face cannot be replaced; None if it can."""
        if face.side < self.settings.replace_min_px:
            return "too_small"
        if face.score < self.settings.replace_score or not face.confirmed:
            return "uncertain"
        if misfit(FFHQ_LANDMARKS, face.landmarks) > MAX_MISFIT:
            return "turned_away"
        return None

    def _is_masked_stranger(self, assignment: Assignment, options: Options) -> bool:
        """Who cannot be recognised is a stranger."""
        return not assignment.enrolled and (options.stranger or self.settings.stranger) == "mask"

    def _refuse(self, faces: list[Seen], options: Options) -> None:
        """Refuses a photo for one of its faces, by policy. Raises FaceRefused, StrangerRefused."""
        refused: FaceRefused | StrangerRefused | None = None
        unfit = next((seen.masked for seen in faces if seen.assignment is None), None)
        if unfit and (options.small_face or self.settings.small_face) == "refuse":
            what = {
                "too_small": "is too small",
                "uncertain": "is too uncertain",
                "turned_away": "is turned too far away",
            }
            refused = FaceRefused(f"a face {what[unfit or '']} to be replaced; the policy is to refuse such photos")
        elif any(seen.outcome == "stranger" for seen in faces) and (
            (options.stranger or self.settings.stranger) == "refuse"
        ):
            why = "a face belongs to nobody enrolled"
            if self.look_up.resolution == "nearest-only":
                why = "the enrolment map is not loaded, so that every face counts as a stranger's"
            refused = StrangerRefused(f"{why}; the policy is to refuse such photos")
        if refused:
            metrics.FACES.labels("refused").inc(len(faces))
            raise refused


def _count(faces: list[Seen]) -> None:
    """Puts the faces of a finished photo into the metrics."""
    for seen in faces:
        metrics.FACES.labels(seen.outcome).inc()
        if seen.masked:
            metrics.MASKED.labels(seen.masked).inc()
        elif seen.assignment:
            metrics.CROWD_DISTANCE.labels(seen.outcome).observe(seen.assignment.distance)
