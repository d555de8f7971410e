"""What the service can do, the same for every protocol: bounded in time and number, counted, failing closed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from services import metrics
from services.anonymizer.admission import Admission
from services.anonymizer.api.access import Access
from services.anonymizer.api.answers import Finished, IndexAnswer, Inspection, face_seen, finished, index_answer, served
from services.anonymizer.decode import PhotoFormat, pixels_of
from services.anonymizer.options import Options, SurrogateOptions
from services.anonymizer.pipeline import Pipeline
from services.anonymizer.reload import Reloader
from services.anonymizer.threads import in_thread
from services.errors import AnonFacesError, DeadlineExceeded, ModelServerUnavailable
from services.settings import Settings

Read = Callable[[], Awaitable[bytes]]  # the photo's bytes, when they have come


@dataclass(frozen=True)
class Photo:
    """A finished photo, and what was done to it."""

    data: bytes
    finished: Finished


@dataclass(frozen=True)
class Picture:
    """A surrogate as a file, and the index that it is from."""

    data: bytes
    format: PhotoFormat
    index: IndexAnswer


class Operations:
    """Works for one process. A request keeps the pipeline, and so the index version, that it started with.

    Raises:
        ConfigurationError: the API keys are not valid, or needed and not there.
    """

    def __init__(self, settings: Settings, reloader: Reloader):
        self.settings, self.admission, self.access = settings, Admission(settings), Access(settings)
        self._reloader = reloader

    @property
    def pipeline(self) -> Pipeline:
        """The one that serves now; whoever works with it keeps hold of it."""
        return self._reloader.pipeline

    def check(self, options: Options) -> None:
        """Raises what can be known without the photo: Unauthenticated, Forbidden, or as `Pipeline.check` does."""
        self.access.check(options)
        self.pipeline.check(options)

    async def anonymize(self, read: Read, options: Options, timeout_s: float | None = None) -> Photo:
        """Replaces every face of a photo.

        Args:
            read: gives the photo; the time it takes is the request's.
            timeout_s: the client's own limit, if it has one.

        Raises:
            AnonFacesError: as `Pipeline.anonymise`; Forbidden; Overloaded, RateLimited; DeadlineExceeded.
        """
        self.check(options)  # before the photo is read
        chosen = {"emotion": options.emotion, "generator": options.generator}
        async with self._counted(), self.within(timeout_s):
            self.access.charge()
            data = await read()
            async with self._turn(data) as pipeline:
                done = await pipeline.anonymise(data, options)
        self.admission.keep(len(done.data))
        return Photo(done.data, finished(pipeline, done, chosen))

    async def inspect(self, read: Read, timeout_s: float | None = None) -> Inspection:
        """What `anonymize` would see and do, without doing it. Arguments and errors are those of `anonymize`."""
        async with self._counted(), self.within(timeout_s):
            data = await read()
            async with self._turn(data) as pipeline:
                photo, faces = await pipeline.inspect(data)
        return Inspection.model_validate(
            {
                **served(pipeline),
                "width": photo.width,
                "height": photo.height,
                "faces": [face_seen(seen) for seen in faces],
            }
        )

    async def surrogate(self, crowd: int, options: SurrogateOptions, timeout_s: float | None = None) -> Picture:
        """The face of a crowd.

        Raises:
            AnonFacesError: as `Pipeline.surrogate`; Overloaded; DeadlineExceeded.
        """
        height, width = self.pipeline.models.generator.image_size
        async with self.within(timeout_s), self._served(height * width) as pipeline:
            data, form = await pipeline.surrogate(crowd, options)
        self.admission.keep(len(data))
        return Picture(data, form, index_answer(pipeline))

    def index(self) -> IndexAnswer:
        """The index that is served now."""
        return index_answer(self.pipeline)

    @asynccontextmanager
    async def _turn(self, data: bytes) -> AsyncIterator[Pipeline]:
        """A turn for a photo, whose size its header tells."""
        s = self.settings
        pixels = await in_thread(pixels_of, data, s.max_pixels, s.min_side_px, s.max_side_px)
        async with self._served(pixels) as pipeline:
            yield pipeline

    @asynccontextmanager
    async def _served(self, pixels: int) -> AsyncIterator[Pipeline]:
        """A turn, and a pipeline that is ready. One that fails in the models must prove itself before it serves on."""
        async with self.admission.work(pixels):
            pipeline = self.pipeline
            try:
                await pipeline.readiness.admit()
                yield pipeline
            except (ModelServerUnavailable, DeadlineExceeded):
                pipeline.readiness.doubted()
                raise

    @asynccontextmanager
    async def within(self, timeout_s: float | None = None) -> AsyncIterator[None]:
        """The time of one photo; or of reading several. Raises DeadlineExceeded."""
        limit = min(self.settings.request_timeout_s, timeout_s or self.settings.request_timeout_s)
        try:
            async with asyncio.timeout(limit):
                yield
        except TimeoutError:
            raise DeadlineExceeded(f"the photo was not finished within {limit:g} s; try again later") from None

    @asynccontextmanager
    async def _counted(self) -> AsyncIterator[None]:
        outcome = "internal"
        try:
            yield
            outcome = "ok"
        except AnonFacesError as error:
            outcome = error.code
            raise
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        finally:
            metrics.PHOTOS.labels(outcome).inc()
