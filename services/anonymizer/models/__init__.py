"""Which models the pipeline can use. The settings and the cluster index name them.

A model that a user converts brings its own row, in the provenance file beside it in the model repository; from there it
is used as any other.
"""

from services.anonymizer.models.find import (
    DEFAULTS,
    Models,
    choose,
    find_embedder,
    find_estimators,
    find_generator,
    find_inverter,
    find_models,
)
from services.anonymizer.models.rows import (
    EMOTION,
    INPUT_STEP,
    Attribute,
    Choice,
    Detector,
    Embedder,
    Estimator,
    Generator,
    Inverter,
    Side,
)
from services.anonymizer.models.shipped import DETECTORS, EMBEDDERS, ESTIMATORS, GENERATORS, INVERTERS

__all__ = [
    "DEFAULTS",
    "DETECTORS",
    "EMBEDDERS",
    "EMOTION",
    "ESTIMATORS",
    "GENERATORS",
    "INPUT_STEP",
    "INVERTERS",
    "Attribute",
    "Choice",
    "Detector",
    "Embedder",
    "Estimator",
    "Generator",
    "Inverter",
    "Models",
    "Side",
    "choose",
    "find_embedder",
    "find_estimators",
    "find_generator",
    "find_inverter",
    "find_models",
]
