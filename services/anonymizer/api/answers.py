"""What the service answers: the same fields in every protocol, as JSON documents, headers, or messages."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from services.anonymizer.encode import MEDIA_TYPES
from services.anonymizer.lookup import Resolution
from services.anonymizer.pipeline import Anonymised, Pipeline, Seen

Masked = Literal["too_small", "uncertain", "turned_away", "stranger"]


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class Served(_Answer):
    """Which index served, and what that is worth. Where nobody can be recognised there is no k to claim."""

    index_version: str
    resolution: Resolution = Field(description="`nearest-only`: the enrolment map is not loaded, nobody is recognised")
    k: int | None = Field(description="holds for enrolled faces, and for no others; null where nobody is recognised")


class Finished(Served):
    """What was done to a photo. `faces` = `enrolled` + `strangers` + `masked`."""

    media_type: str
    faces: int
    enrolled: int
    strangers: int
    masked: int
    emotion: str | None = Field(None, description="as chosen: what of the surrogates was not their crowds' alone")
    generator: str | None = Field(None, description="as chosen")


class Error(_Answer):
    """Why something could not be done: a code for programs, a sentence for people."""

    error: str
    message: str


class BatchItem(_Answer):
    """One photo of a batch: finished, or why it is not. Exactly one of `photo` and `error` is there."""

    name: str = Field(description="the file's name in the form")
    status: int = Field(description="the HTTP status that the photo would have had alone")
    photo: str | None = Field(None, description="the finished photo, Base64")
    finished: Finished | None = None
    error: Error | None = None


class Batch(_Answer):
    """The photos of a batch, in their order."""

    items: list[BatchItem]


class FaceSeen(_Answer):
    """One face of a photo, in pixels of the upright photo. No embedding, no identity."""

    box: tuple[float, float, float, float]
    landmarks: list[tuple[float, float]]
    score: float
    masked: Masked | None = Field(description="why it is not replaced")
    crowd: int | None
    crowd_size: int | None = Field(description="distinct identities")
    distance: float | None = Field(description="to the crowd's centroid, never to a person")
    enrolled: bool | None = Field(description="null where nobody can be recognised")


class Inspection(Served):
    """What `anonymize` sees in a photo. `k` holds for the faces whose `enrolled` is true."""

    width: int
    height: int
    faces: list[FaceSeen]


class ModelNames(_Answer):
    """Names of the models that serve."""

    detector: str
    embedder: str
    aligner: str
    generator: str


class IndexAnswer(Served):
    """The cluster index that is served."""

    name: str
    crowds: int
    index_k: int = Field(description="fewest identities of a crowd, whether or not anybody is recognised")
    smallest_crowd: int
    largest_crowd: int
    models: ModelNames
    generators: list[str] = Field(description="that a request may name; the first serves if none is named")
    emotions: list[str] = Field(description="that a request may choose; empty where the generator has no such input")


def served(pipeline: Pipeline) -> dict[str, object]:
    """The fields of `Served`."""
    resolution = pipeline.look_up.resolution
    k = pipeline.index.k if resolution == "enrolled-first" else None
    return {"index_version": pipeline.index.version, "resolution": resolution, "k": k}


def finished(pipeline: Pipeline, done: Anonymised, chosen: dict[str, str | None]) -> Finished:
    """What was done to a photo.

    Args:
        chosen: `emotion` and `generator` of the request.
    """
    return Finished.model_validate(
        {
            **served(pipeline),
            **chosen,
            "media_type": MEDIA_TYPES[done.format],
            "faces": len(done.faces),
            "enrolled": done.count("enrolled"),
            "strangers": done.count("stranger"),
            "masked": done.count("masked"),
        }
    )


def face_seen(seen: Seen) -> FaceSeen:
    """One face as it is described to the outside."""
    known = seen.assignment
    return FaceSeen.model_validate(
        {
            "box": [round(float(v), 1) for v in seen.face.box],
            "landmarks": [[round(float(v), 1) for v in point] for point in seen.face.landmarks],
            "score": round(seen.face.score, 4),
            "masked": seen.masked,
            "crowd": known and known.crowd,
            "crowd_size": known and known.crowd_size,
            "distance": round(known.distance, 4) if known else None,
            "enrolled": known.enrolled if known else None,
        }
    )


def index_answer(pipeline: Pipeline) -> IndexAnswer:
    """The index that a pipeline serves."""
    index, models = pipeline.index, pipeline.models
    choices = models.generator.choices.get("emotion")
    return IndexAnswer.model_validate(
        {
            **served(pipeline),
            "name": index.name,
            "crowds": len(index.crowds),
            "index_k": index.k,
            "smallest_crowd": int(index.crowds.sizes.min()),
            "largest_crowd": int(index.crowds.sizes.max()),
            "models": {
                "detector": models.detector.name,
                "embedder": models.embedder.name,
                "aligner": models.embedder.aligner,
                "generator": models.generator.name,
            },
            "generators": list(pipeline.generators),
            "emotions": list(choices.values) if choices else [],
        }
    )
