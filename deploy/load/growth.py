"""Does something grow without end? Judged on the samples of a soak.

The slope is Theil and Sen's, the median of the slopes between all pairs: a burst, or a step up and down again, does not
move it, up to 29 % of samples. Samples are medians of ten seconds, since what is kept for one photo comes and goes. Two
things must hold for growth to be found:

- the lower end of the slope's 95 % interval is above zero: it is no accident of when the soak began and ended;
- over the time looked at, it adds up to more than an allowance, which is what a heap that has not settled drifts by.

The allowance of memory is 3 % of its level, and 12 MB at least. For a service of 900 MB that is 27 MB, which a leak of
30 KB a request, less than any photo's file, passes in 15 minutes at a request a second.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import theilslopes

from deploy.load.watch import Sample

WARM_UP = 0.25  # of a soak: caches fill, heaps find their size
BIN_S = 10.0
MEMORY_SHARE, MEMORY_BYTES = 0.03, 12e6
SHARED_BYTES = 1e6  # Triton's regions grow in steps of a megabyte and do not shrink
FILES, THREADS = 3.0, 3.0
FEWEST_BINS = 6


@dataclass(frozen=True)
class Growth:
    """How one figure moved, after the warm-up."""

    what: str
    level: float  # median
    per_hour: float  # slope
    lowest_per_hour: float  # lower end of its 95 % interval
    added: float  # over the time looked at
    allowed: float

    @property
    def found(self) -> bool:
        """It grows."""
        return self.lowest_per_hour > 0 and self.added > self.allowed


def growth(what: str, at: Sequence[float], values: Sequence[float], allowed: float) -> Growth | None:
    """Judges one figure.

    Args:
        at: seconds.
        allowed: growth over the time looked at that is none.

    Returns:
        None where there is too little to judge.
    """
    times, levels = _binned(np.asarray(at, float), np.asarray(values, float))
    if len(times) < FEWEST_BINS:
        return None
    slope, _, lowest, _ = theilslopes(levels, times)
    slope, lowest, length = float(slope), float(lowest), float(times[-1] - times[0])
    return Growth(what, float(np.median(levels)), slope * 3600, lowest * 3600, slope * length, allowed)


def growths(samples: Sequence[Sample]) -> list[Growth]:
    """Memory, files and threads of each group of processes, and shared memory, over a soak."""
    length = samples[-1].at - samples[0].at
    kept = [sample for sample in samples if sample.at - samples[0].at >= WARM_UP * length]
    at = [sample.at for sample in kept]
    judged = []
    for name in ("service", "triton", "models"):
        groups = [sample.groups[name] for sample in kept]
        rss = [float(group.rss) for group in groups]
        judged.append(growth(f"{name}: memory", at, rss, max(MEMORY_BYTES, MEMORY_SHARE * float(np.median(rss)))))
        files = [float(group.files) for group in groups if group.files is not None]
        if len(files) == len(groups):
            judged.append(growth(f"{name}: files", at, files, FILES))
        judged.append(growth(f"{name}: threads", at, [float(group.threads) for group in groups], THREADS))
    judged.append(growth("shared memory", at, [float(sample.shared_bytes) for sample in kept], SHARED_BYTES))
    return [one for one in judged if one is not None]


def _binned(at: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Medians of BIN_S seconds."""
    if not len(at):
        return at, values
    numbers = ((at - at[0]) // BIN_S).astype(int)
    bins = np.unique(numbers)
    return (bins + 0.5) * BIN_S, np.array([np.median(values[numbers == one]) for one in bins])
