"""Which models the pipeline can use: one row each. The settings and the cluster index name them."""

from dataclasses import dataclass

from services.errors import ConfigurationError


@dataclass(frozen=True)
class Detector:
    """A face detector; `models` maps the side of a square input in pixels to the Triton model of that size."""

    name: str
    models: dict[int, str]
    smallest_px: float  # a face of this many input pixels is found reliably
    look_px: int  # side of the thumbnail and of the second look: its landmarks are best on faces of 60 to 200 px


@dataclass(frozen=True)
class Embedder:
    """A recogniser. `aligner` names how its chips are cut; embeddings of different aligners do not compare."""

    name: str
    model: str
    aligner: str
    chip_px: int
    dims: int


@dataclass(frozen=True)
class Generator:
    """A face generator: w -> picture of `image_px` squared, faces placed as FFHQ places them."""

    name: str
    model: str
    mapping: str
    image_px: int
    latent_dims: int
    w_dims: int


DETECTORS = {
    d.name: d
    for d in (
        Detector("centerface", {192: "centerface-192", 512: "centerface-512", 1024: "centerface-1024"}, 12.0, 192),
    )
}
EMBEDDERS = {
    e.name: e for e in (Embedder("dlib-resnet", "dlib-resnet", "centerface5-look192-similarity150", 150, 128),)
}
GENERATORS = {
    g.name: g
    for g in (
        Generator("mobile-stylegan-512", "mobile-stylegan-512", "mobile-stylegan-mapping", 512, 512, 512),
        Generator("mobile-stylegan-1024", "mobile-stylegan-1024", "mobile-stylegan-mapping", 1024, 512, 512),
    )
}


@dataclass(frozen=True)
class Models:
    """The models of one pipeline."""

    detector: Detector
    embedder: Embedder
    generator: Generator

    def online(self) -> tuple[str, ...]:
        """The Triton models a request may need."""
        return (*self.detector.models.values(), self.embedder.model, self.generator.model)


def choose(detector: str, embedder: str, generator: str) -> Models:
    """Looks the three names up.

    Raises:
        ConfigurationError: a name is unknown; says which names there are.
    """
    found = []
    for kind, name, rows in (
        ("detector", detector, DETECTORS),
        ("embedder", embedder, EMBEDDERS),
        ("generator", generator, GENERATORS),
    ):
        if name not in rows:
            raise ConfigurationError(f"no {kind} named {name!r}; there are {', '.join(rows)}")  # type: ignore[arg-type]
        found.append(rows[name])  # type: ignore[index]
    return Models(*found)  # type: ignore[arg-type]
