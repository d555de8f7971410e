"""A new version of the cluster index is taken up while the old one serves: read, checked, proved, and only then served.

A request keeps the pipeline that it started with; the old one goes when its last request is done.
"""

import asyncio
import json
import logging
import time
from functools import lru_cache
from pathlib import Path

import numpy as np

from services import metrics
from services.anonymizer.pipeline import Pipeline
from services.anonymizer.triton import Triton
from services.errors import AnonFacesError, DeadlineExceeded, ModelServerUnavailable
from services.files import read_regular
from services.population.compatibility import models_for
from services.population.index import CROWDS, MANIFEST, EnrolmentStore, open_index
from services.population.index.series import CURRENT
from services.settings import Settings

log = logging.getLogger("anonfaces")
LONGEST_WAIT_S = 300.0  # for models that do not answer

Stamp = tuple[int, int, int] | None  # inode, time of change, size; None: no such file
State = tuple[Path, tuple[Stamp, ...]]


def load(settings: Settings, place: Path, triton: Triton) -> Pipeline:
    """The pipeline of a version, all of it checked but what the models answer. Slow if large: run it in a thread.

    Args:
        place: the folder of the version.

    Raises:
        IndexRefused, ConfigurationError: as `open_index` and `models_for` do.
    """
    index = open_index(settings.model_copy(update={"index": str(place)}))
    return Pipeline(settings, models_for(index, settings), index, triton)


def state_of(settings: Settings) -> State:
    """Which version is the current one, and what tells whether its files, its map or the key were changed."""
    folder = settings.index_path.absolute()
    try:
        place = (folder / CURRENT if (folder / CURRENT).exists() else folder).resolve()
    except (OSError, RuntimeError):  # not to be entered, or links in a circle; who reads it will say so
        return folder, ()
    manifest, crowds = _stamp(place / MANIFEST), _stamp(place / CROWDS)
    if manifest is None or settings.enrolment == "off":
        return place, (manifest, crowds)
    name, version = _claimed(place / MANIFEST, manifest)
    store = EnrolmentStore.of(settings, name)
    return place, (manifest, crowds, _stamp(store.path(version)), _stamp(store.key_file))


def _stamp(path: Path) -> Stamp:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


@lru_cache(maxsize=2)
def _claimed(manifest: Path, stamp: Stamp) -> tuple[str, str]:
    """The name and version that a manifest claims, unchecked; read anew only when the file was changed."""
    try:
        told = json.loads(read_regular(manifest))
        return str(told["name"]), str(told["version"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return "", ""


class Reloader:
    """Holds the pipeline that serves, and looks for a newer version of its index."""

    def __init__(self, settings: Settings, state: State, pipeline: Pipeline):
        self.pipeline = pipeline
        self._settings = settings
        self._served = self._tried = state
        self._again = np.inf  # when to try the same state once more, in monotonic seconds
        self._wait_s = settings.index_poll_s
        _tell(None, pipeline)

    @staticmethod
    async def start(settings: Settings, triton: Triton) -> "Reloader":
        """Loads the current version. Raises as `load` does."""
        state = await asyncio.to_thread(state_of, settings)
        return Reloader(settings, state, await asyncio.to_thread(load, settings, state[0], triton))

    async def watch(self) -> None:
        """Looks every `index_poll_s` seconds, until it is cancelled."""
        while True:
            await asyncio.sleep(self._settings.index_poll_s)
            await self.look()

    async def look(self) -> None:
        """Serves what the disk holds now, if that is something new and all of it is well; else changes nothing.

        A version that is refused is looked at again only when something of it changes on disk. Models that do not
        answer change nothing on disk when they come, so those are asked again, after longer and longer waits.
        """
        state = await asyncio.to_thread(state_of, self._settings)
        again = state == self._tried
        if again and time.monotonic() < self._again:
            return
        self._tried, self._again = state, np.inf
        if state == self._served:  # what was refused is gone
            return
        try:
            await self._take_up(state)
        except (ModelServerUnavailable, DeadlineExceeded) as silent:
            self._wait_s = min(2 * self._wait_s, LONGEST_WAIT_S) if again else self._settings.index_poll_s
            self._again = time.monotonic() + self._wait_s
            if not again:
                self._refuse("waiting", state, str(silent))
        except AnonFacesError as reason:
            self._refuse("refused", state, str(reason))
        except Exception as broken:  # whatever it is, the old version serves on; its text may hold anything
            self._refuse("refused", state, f"an unexpected {type(broken).__name__}")

    async def _take_up(self, state: State) -> None:
        """Loads a version, has the models prove it, and serves it."""
        old = self.pipeline
        new = await asyncio.to_thread(load, self._settings, state[0], old.triton)
        await new.readiness.require()
        if _same_generator(old, new):
            new.surrogates.adopt(old.surrogates, await asyncio.to_thread(old.index.crowds.same_as, new.index.crowds))
        self.pipeline, self._served = new, state
        metrics.INDEX_RELOADS.labels("loaded").inc()
        _tell(old, new)

    def _refuse(self, outcome: str, state: State, reason: str) -> None:
        metrics.INDEX_RELOADS.labels(outcome).inc()
        serving = self.pipeline.index.version
        log.error("index version %s is %s, version %s serves on: %s", state[0].name, outcome, serving, reason)


def _same_generator(old: Pipeline, new: Pipeline) -> bool:
    """Does a latent give the same picture in both? Only if both indexes name the file of the generator."""
    files = [one.index.manifest["provenance"].get("models_sha256", {}) for one in (old, new)]
    known = [hashes.get(one.models.generator.model) for hashes, one in zip(files, (old, new), strict=True)]
    return old.models.generator == new.models.generator and known[0] is not None and known[0] == known[1]


def _tell(old: Pipeline | None, new: Pipeline) -> None:
    """Says in the log and in the metrics what is served now."""
    index, resolution = new.index, new.look_up.resolution
    if old is not None:
        metrics.INDEX_INFO.labels(old.index.version, old.look_up.resolution).set(0)
    metrics.INDEX_INFO.labels(index.version, resolution).set(1)
    metrics.INDEX_ENROLMENT.set(resolution == "enrolled-first")
    metrics.INDEX_K.set(index.k)
    metrics.INDEX_CROWDS.set(len(index.crowds))
    log.info("serving index %s version %s, k = %d, %s", index.name, index.version, index.k, resolution)
