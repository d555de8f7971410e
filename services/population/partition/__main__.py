"""`python -m services.population.partition`: compiles the partitioners, so that the first population need not wait."""

import numpy as np

from services.population.partition import ALGORITHMS, partition
from services.population.partition.swap import EFFORTS

PEOPLE = np.random.default_rng(0).normal(size=(60, 4))

for algorithm in ALGORITHMS:
    for dtype in (np.float32, np.float64):
        partition(PEOPLE.astype(dtype), 3, algorithm)
for effort in EFFORTS:
    partition(PEOPLE[:30], 2, "swap", effort=effort)
