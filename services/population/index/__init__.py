"""The cluster index: what is published of a population, version by version, and the encrypted map beside it."""

from services.population.index.crowds import Crowds, check_crowds
from services.population.index.enrolment import Enrolment, EnrolmentStore, calibrate_threshold, check_enrolment
from services.population.index.series import (
    building,
    index_folder,
    open_index,
    publish,
    read_index,
    version_folder,
    versions_of,
    with_enrolment,
)
from services.population.index.version import CROWDS, MANIFEST, ClusterIndex, Entry, read_version

__all__ = [
    "CROWDS",
    "MANIFEST",
    "ClusterIndex",
    "Crowds",
    "Enrolment",
    "EnrolmentStore",
    "Entry",
    "building",
    "calibrate_threshold",
    "check_crowds",
    "check_enrolment",
    "index_folder",
    "open_index",
    "publish",
    "read_index",
    "read_version",
    "version_folder",
    "versions_of",
    "with_enrolment",
]
