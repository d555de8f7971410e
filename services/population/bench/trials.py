"""Partitioners under a stopwatch, in a process beside that is ended when one's time is up."""

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
    """What is to be done."""

    algorithm: str  # a row of ALGORITHMS or VARIANTS, or NAME:EFFORT
    k: int
    seed: int = 0
    left_out: int = 0  # people, drawn by the seed, who are not partitioned: to see what a few of them change

    def rows(self, n: int) -> np.ndarray:
        """int64: the people who are partitioned, of n."""
        return np.sort(np.random.default_rng(self.seed).permutation(n)[self.left_out :])


@dataclass(frozen=True)
class Trial:
    """What came of it."""

    job: Job
    cpu_s: float | None  # of all threads; None: it did not end
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


def run_trials(embeddings: np.ndarray, jobs: Sequence[Job], effort: str, limit_s: float) -> Iterator[Trial]:
    """Does one job after another in a process beside, each for at most `limit_s` seconds of wall time.

    Args:
        embeddings: float [n, d].
        effort: of the algorithms that name none.
    """
    left = list(jobs)
    context = multiprocessing.get_context("spawn")
    while left:
        here, there = context.Pipe()
        process = context.Process(target=_work, args=(there, embeddings, left, effort), daemon=True)
        process.start()
        there.close()
        try:
            while left:
                yield _next(here, left[0], embeddings, limit_s)
                left.pop(0)
        except _Over as over:
            yield Trial(left.pop(0), None, None, str(over))
        finally:
            process.kill()
            process.join()
            here.close()


class _Over(Exception):
    """A process that has to be ended, and another begun for what is left."""


def _next(here: Connection, job: Job, embeddings: np.ndarray, limit_s: float) -> Trial:
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
        return Trial(job, None, None, f"skipped: not done after {limit_s:g} s")
    return Trial(job, None, None, refused) if labels is None else judge(job, embeddings, labels, cpu_s)


def judge(job: Job, embeddings: np.ndarray, labels: np.ndarray, cpu_s: float) -> Trial:
    """Measures an answer; crowds below k are measured and noted, and people in none make it worthless."""
    points = embeddings[job.rows(len(embeddings))]
    note = ""
    try:
        check_labels(labels, len(points), job.k)
    except PartitionError as wrong:
        note = str(wrong)
        if labels.shape != (len(points),) or labels.min() < 0 or not np.bincount(labels).all():
            return Trial(job, cpu_s, None, note)
    return Trial(job, cpu_s, measure(points, labels), note)


def _work(there: Connection, embeddings: np.ndarray, jobs: list[Job], effort: str) -> None:
    """In the process: for each job that it begins, then labels, CPU seconds, wall seconds, and why there are none."""
    with threadpool_limits(1):  # threads that wait for each other burn CPU time
        for job in jobs:
            base, _, chosen = job.algorithm.partition(":")
            find = ALGORITHMS[base] if base in ALGORITHMS else VARIANTS[base]
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
