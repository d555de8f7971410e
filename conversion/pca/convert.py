"""PCA of face chips as an embedder: eigenfaces (Turk and Pentland 1991), the third descriptor of the AnonFACES paper.

A chip becomes a small grey picture (Rec. 601 luma, means over square cells, 0..1), and its embedding is where that
picture lies along the directions in which the fitted chips differ most. By default each small picture is first brought
to mean 0 and variance 1: a brighter lamp or another exposure scales and shifts all of its values, and would otherwise
be most of what PCA sees.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import sklearn
from sklearn.decomposition import IncrementalPCA
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from conversion.converted import Converted
from conversion.graph import FLOAT, UINT8, Graph
from conversion.parity import Parity, run_onnx, smooth_images
from conversion.pca.file import MAX_DIMS, MIN_DIMS, SIDES, Pca, load
from conversion.registry import Options
from services.anonymizer.models import Embedder
from services.errors import ConversionError

ALIGNER = "centerface5-look192-similarity150"
CHIP = 150  # side of a chip in pixels
SIDE = 50  # of the small picture
LUMA = np.array([0.299, 0.587, 0.114])  # of R, G, B: Rec. 601
FLAT = 1 / 255  # a small picture whose deviation is below one grey level holds noise, and is not blown up
BATCH = 256  # fewest chips of one step of the fit
SAMPLE = 2000  # chips kept to measure distances between neighbours
NEAREST_PERCENTILE = 1
# A direction whose variance is below this, or this share of the largest, is rounding and no difference of faces.
LEAST_VARIANCE, LEAST_SHARE = 1e-8, 1e-6


def reduce(chips: np.ndarray, side: int, normalise: bool) -> np.ndarray:
    """`chips uint8 [n, 150, 150, 3]` RGB -> small grey pictures, float64 [n, side * side], row by row."""
    cell = CHIP // side
    cells = chips.reshape(len(chips), side, cell, side, cell, 3).sum(axis=(2, 4), dtype=np.uint32)
    rows = (cells @ (LUMA / (255 * cell * cell))).reshape(len(chips), side * side)
    if normalise:
        rows -= rows.mean(axis=1, keepdims=True)
        rows /= np.maximum(np.sqrt((rows**2).mean(axis=1, keepdims=True)), FLAT)
    return rows


class Fitter:
    """Fits a PCA as chips come, in the memory of a few batches (incremental PCA, Ross et al. 2008)."""

    def __init__(self, dims: int, whiten: bool, normalise: bool = True, side: int = SIDE, seed: int = 0):
        if not MIN_DIMS <= dims <= MAX_DIMS or side not in SIDES:
            raise ConversionError(f"a PCA has {MIN_DIMS} to {MAX_DIMS} dimensions and a side among {SIDES}")
        self.dims, self.whiten, self.normalise, self.side = dims, whiten, normalise, side
        self.chips = 0
        self._pca = IncrementalPCA(n_components=dims)
        self._batch = max(BATCH, 2 * dims)
        self._waiting: list[np.ndarray] = []  # small pictures, float64 [n, side * side] each
        self._sample = np.empty((SAMPLE, side * side), np.float32)
        self._random = np.random.default_rng(seed)

    def add(self, chips: np.ndarray) -> None:
        """Takes `chips uint8 [n, 150, 150, 3]` RGB."""
        rows = reduce(chips, self.side, self.normalise)
        for row in rows:  # every chip has the same chance to be in the sample (Vitter's algorithm R)
            self.chips += 1
            place = self.chips - 1 if self.chips <= SAMPLE else int(self._random.integers(self.chips))
            if place < SAMPLE:
                self._sample[place] = row
        self._waiting.append(rows)
        if sum(map(len, self._waiting)) >= 2 * self._batch:
            rows = np.concatenate(self._waiting)
            while len(rows) >= 2 * self._batch:  # one batch always stays, so that the last step is never a small one
                self._step(rows[: self._batch])
                rows = rows[self._batch :]
            self._waiting = [rows]

    def _step(self, rows: np.ndarray) -> None:
        # One thread, since the detector needs the others: BLAS threads that wait for each other are ten times slower.
        # Chips without any variance divide by zero; `finish` refuses them.
        with threadpool_limits(1), np.errstate(divide="ignore", invalid="ignore"):
            self._pca.partial_fit(rows)

    def finish(self) -> Pca:
        """The fitted PCA. Call it once.

        Raises:
            ConversionError: too few chips, or they differ in too few directions.
        """
        if self.chips <= self.dims:
            raise ConversionError(
                f"{self.chips} faces were found, and {self.dims} dimensions need {self.dims + 1} or more; "
                "add photos, or ask for fewer --dims"
            )
        self._step(np.concatenate(self._waiting))
        variance = self._pca.explained_variance_
        varied = int((variance > max(LEAST_VARIANCE, LEAST_SHARE * variance[0])).sum())
        if varied < self.dims:
            raise ConversionError(
                f"the {self.chips} faces differ in {varied} directions only, not in {self.dims}; "
                "add photos of other faces, or ask for fewer --dims"
            )
        pca = Pca(
            mean=self._pca.mean_.astype(np.float32),
            components=self._pca.components_.astype(np.float32, order="C"),
            explained_variance=variance.astype(np.float32),
            explained_variance_ratio=self._pca.explained_variance_ratio_.astype(np.float32),
            whiten=self.whiten,
            normalise=self.normalise,
            side=self.side,
            chips=self.chips,
            same_person=1.0,  # measured below
        )
        return replace(pca, same_person=self._nearest(pca))

    def _nearest(self, pca: Pca) -> float:
        """The 1st percentile of distances between neighbours of the sample; copies of a chip are no neighbours."""
        sample = np.unique(self._sample[: self.chips], axis=0)
        embeddings = (sample - pca.mean) @ pca.matrix()
        distances, _ = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(embeddings).kneighbors()
        return float(np.percentile(distances[:, 0], NEAREST_PERCENTILE))


def fit(
    batches: Iterable[np.ndarray],
    dims: int,
    whiten: bool,
    normalise: bool = True,
    side: int = SIDE,
    seed: int = 0,
) -> Pca:
    """Fits a PCA to batches of `chips uint8 [n, 150, 150, 3]` RGB of any sizes.

    Args:
        dims: of an embedding, 10..256.
        whiten: give each dimension variance 1.
        normalise: bring each small picture to mean 0 and variance 1.
        side: of a small picture, a row of `SIDES`.
        seed: of the sample that `same_person` is measured on.

    Raises:
        ConversionError: too few chips, or they differ in too few directions; dims or side out of range.
    """
    fitter = Fitter(dims, whiten, normalise, side, seed)
    for chips in batches:
        fitter.add(chips)
    return fitter.finish()


def build(pca: Pca) -> onnx.ModelProto:
    """`chips uint8 [N, 150, 150, 3]` RGB -> `embedding float32 [N, d]`; luma and means of cells are one convolution."""
    graph = Graph()
    cell = CHIP // pca.side
    x = graph.op("Transpose", graph.op("Cast", "chips", to=FLOAT), perm=[0, 3, 1, 2])
    kernel = np.tile(LUMA.reshape(1, 3, 1, 1) / (255 * cell * cell), (1, 1, cell, cell))
    x = graph.op("Conv", x, graph.const(kernel), kernel_shape=[cell, cell], strides=[cell, cell])
    x = graph.op("Flatten", x, axis=1)
    if pca.normalise:
        x = graph.op("Sub", x, graph.op("ReduceMean", x, graph.ints(1)))
        deviation = graph.op("Sqrt", graph.op("ReduceMean", graph.op("Mul", x, x), graph.ints(1)))
        x = graph.op("Div", x, graph.op("Max", deviation, graph.const(FLAT)))
    x = graph.op("MatMul", graph.op("Sub", x, graph.const(pca.mean)), graph.const(pca.matrix()))
    graph.name(x, "embedding")
    return graph.model("pca", [("chips", UINT8, [CHIP, CHIP, 3])], [("embedding", FLOAT, [pca.dims])])


def check(pca: Pca, model: onnx.ModelProto, chips: np.ndarray | None = None) -> Parity:
    """Against scikit-learn's own `transform` in float64 on `chips uint8 [n, 150, 150, 3]`, by default smooth noise."""
    chips = smooth_images(16, CHIP, seed=5) if chips is None else chips
    reference = IncrementalPCA(n_components=pca.dims, whiten=pca.whiten)
    for name in ("mean", "components", "explained_variance"):
        setattr(reference, f"{name}_", getattr(pca, name).astype(np.float64))
    expected = reference.transform(reduce(chips, pca.side, pca.normalise))
    difference = np.abs(run_onnx(model, chips=chips)[0] - expected).max()
    return Parity(
        reference=f"scikit-learn {sklearn.__version__}",
        measure="largest |difference| of the embedding, over its RMS",
        value=float(difference / np.sqrt((expected**2).mean())),
        tolerance=1e-4,
        samples=len(chips),
    )


def convert(path: Path, name: str, options: Options) -> list[Converted]:
    """A `.npz` file of `Pca.save` -> `NAME`, an embedder that cuts chips as the shipped one does."""
    pca = load(path)
    model = build(pca)
    row = Embedder(name=name, model=name, aligner=ALIGNER, chip_px=CHIP, dims=pca.dims, same_person=pca.same_person)
    ratios = pca.explained_variance_ratio.astype(np.float64)
    card = {
        "chips": pca.chips,
        "dims": pca.dims,
        "side": pca.side,
        "whiten": pca.whiten,
        "normalise": pca.normalise,
        "explained_variance": round(float(ratios.sum()), 6),
        "first_ratios": [round(float(ratio), 6) for ratio in ratios[:10]],
        "nodes": len(model.graph.node),
    }
    return [Converted(name, model, check(pca, model), card, serves=row)]
