"""Partitioners under a stopwatch: each in a process of its own that is ended when its time is up."""

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from services.errors import PartitionError
from services.population.bench.measures import Measures, measure
from services.population.partition import ALGORITHMS, Algorithm, check_labels
from services.population.partition.hierarchical import hierarchical
from services.population.partition.kmeans import kmeans_published
from services.population.partition.knn import knn
from services.population.partition.swap import EFFORTS

# What only the paper's table has, besides ALGORITHMS.
VARIANTS: dict[str, Algorithm] = {
    "hierarchical (average)": partial(hierarchical, linkage="average"),
    "hierarchical (complete)": partial(hierarchical, linkage="complete"),
    "kmeans-published (random)": partial(kmeans_published, order="random"),
    "knn (random)": partial(knn, first="random"),
}
WARM = 100  # people that an algorithm is compiled with
STARTS_S = 120  # a process that has not begun by then never will


@dataclass(frozen=True)
class Job:
    """What an algorithm is to do."""

    k: int
    seed: int = 0
    left_out: int = 0  # people, drawn by the seed, who are not partitioned: to see what a few of them change

    def rows(self, n: int) -> np.ndarray:
        """int64: the people who are partitioned, of n."""
        return np.sort(np.random.default_rng(self.seed).permutation(n)[self.left_out :])


@dataclass(frozen=True)
class Trial:
    """What an algorithm did."""

    algorithm: str
    job: Job
    cpu_s: float | None  # of all its threads; None: it did not end
    measures: Measures | None
    note: str = ""  # why it did not, or what is wrong with its crowds


def read_algorithms(text: str) -> list[str]:
    """Names with commas between; "all" stands for `ALGORITHMS`, and NAME:EFFORT for another effort than the rest.

    Raises:
        PartitionError: a name or an effort that is not there.
    """
    names: list[str] = []
    for part in (part.strip() for part in text.split(",")):
        names += [*ALGORITHMS] if part == "all" else [part]
    for name in names:
        base, _, effort = name.partition(":")
        if base not in ALGORITHMS:
            raise PartitionError(f"no algorithm named {base!r}; there are all, {', '.join(ALGORITHMS)}")
        if effort and effort not in EFFORTS:
            raise PartitionError(f"no effort named {effort!r}; there are {', '.join(EFFORTS)}")
    return list(dict.fromkeys(names))


def run_trials(
    embeddings: np.ndarray, algorithm: str, jobs: Sequence[Job], effort: str, limit_s: float
) -> Iterator[Trial]:
    """Does one job after another with one algorithm, each for at most `limit_s` seconds of wall time.

    Args:
        embeddings: float [n, d].
        algorithm: a row of `ALGORITHMS` or `VARIANTS`, or NAME:EFFORT.
    """
    left = list(jobs)
    while left:
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        process = context.Process(target=_work, args=(there, embeddings, algorithm, left, effort), daemon=True)
        process.start()
        there.close()
        try:
            while left:
                yield _next(here, algorithm, left[0], embeddings, limit_s)
                left.pop(0)
        except _Over as over:
            yield Trial(algorithm, left.pop(0), None, None, str(over))
        finally:
            process.kill()
            process.join()
            here.close()


class _Over(Exception):
    """A process that has to be ended."""


def _next(here: Connection, algorithm: str, job: Job, embeddings: np.ndarray, limit_s: float) -> Trial:
    try:
        if not here.poll(STARTS_S):
            raise _Over("its process did not start")
        here.recv()
        if not here.poll(limit_s):
            raise _Over(f"skipped: not done after {limit_s:g} s")
        labels, cpu_s, wall_s, refused = here.recv()
    except (EOFError, OSError) as ended:
        raise _Over("its process ended of itself: out of memory?") from ended
    if wall_s > limit_s:
        return Trial(algorithm, job, None, None, f"skipped: not done after {limit_s:g} s")
    if labels is None:
        return Trial(algorithm, job, None, None, refused)
    points = embeddings[job.rows(len(embeddings))]
    note = ""
    try:
        check_labels(labels, len(points), job.k)
    except PartitionError as wrong:
        note = str(wrong)
        if labels.shape != (len(points),) or labels.min() < 0 or not np.bincount(labels).all():
            return Trial(algorithm, job, cpu_s, None, note)
    return Trial(algorithm, job, cpu_s, measure(points, labels), note)


def _work(there: Connection, embeddings: np.ndarray, algorithm: str, jobs: list[Job], effort: str) -> None:
    """In the process: for each job that it begins, then labels, CPU seconds, wall seconds, and why there are none."""
    base, _, chosen = algorithm.partition(":")
    find = ALGORITHMS[base] if base in ALGORITHMS else VARIANTS[base]
    with threadpool_limits(1):  # threads that wait for each other burn CPU time
        for job in jobs:
            points = embeddings[job.rows(len(embeddings))].astype(np.float64)
            with suppress(PartitionError):  # what is wrong will be said below
                find(points[: max(WARM, 4 * job.k)], job.k, job.seed, "default")
            there.send(None)
            cpu, wall, refused = time.process_time(), time.perf_counter(), ""
            try:
                labels = find(points, job.k, job.seed, chosen or effort)
            except PartitionError as told:
                labels, refused = None, str(told)
            there.send((labels, time.process_time() - cpu, time.perf_counter() - wall, refused))
