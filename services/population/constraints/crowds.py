"""Crowds as arrays that change in place, with the values of sensitive attributes that each one holds."""

from typing import NamedTuple

import numpy as np


class Crowds(NamedTuple):
    """What the kernels of `exchanges` work on; they change all but the first four."""

    points: np.ndarray  # float64 [n, d], centred
    squares: np.ndarray  # float64 [n], squared norms
    codes: np.ndarray  # int64 [attributes, n], -1 where the value is not known
    wanted: np.ndarray  # int64 [attributes], fewest distinct values of a crowd
    labels: np.ndarray  # int64 [n]
    members: np.ndarray  # int64 [crowds, most + 1]
    sizes: np.ndarray  # int64 [crowds]
    places: np.ndarray  # int64 [n], where a point stands among its crowd's members
    sums: np.ndarray  # float64 [crowds, d]
    powers: np.ndarray  # float64 [crowds], squared norms of the sums
    own: np.ndarray  # float64 [n], a point times the sum of its crowd
    distinct: np.ndarray  # int64 [crowds, attributes], distinct values


def crowds_of(points: np.ndarray, codes: np.ndarray, wanted: np.ndarray, labels: np.ndarray, most: int = 0) -> Crowds:
    """The arrays of a partition, with room for `most` members of a crowd, or for as many as the largest has."""
    labels = labels.astype(np.int64)  # a copy
    sizes = np.bincount(labels)
    members = np.full((len(sizes), max(most, int(sizes.max())) + 1), -1, np.int64)
    order = np.argsort(labels, kind="stable")
    places = np.empty(len(labels), np.int64)
    places[order] = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    members[labels, places] = np.arange(len(labels))
    sums = np.zeros((len(sizes), points.shape[1]))
    np.add.at(sums, labels, points)
    return Crowds(
        points,
        (points**2).sum(axis=1),
        codes,
        wanted,
        labels,
        members,
        sizes,
        places,
        sums,
        (sums**2).sum(axis=1),
        np.einsum("nd,nd->n", points, sums[labels]),
        distinct_values(labels, codes),
    )


def distinct_values(labels: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """int64 [crowds, attributes]: distinct known values (codes from 0 on) of each crowd."""
    distinct = np.zeros((int(labels.max()) + 1, len(codes)), np.int64)
    for i, code in enumerate(codes):
        pairs = np.unique(np.column_stack([labels, code])[code >= 0], axis=0)
        distinct[:, i] = np.bincount(pairs[:, 0], minlength=len(distinct))
    return distinct
