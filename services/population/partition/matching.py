"""Crowds of two are a matching: the pairs with the least sum of distances, found exactly (Edmonds 1965)."""

import numpy as np
import rustworkx

SCALE = 1e9  # weights are whole numbers


def match(squared: np.ndarray, near: np.ndarray) -> np.ndarray:
    """The best pairs among near points; who is left over joins the pair it costs least.

    Where many are left over, as among equals, who all have the same neighbours, they are matched by themselves.

    Args:
        squared: float32 [n, n], squared distances, n >= 2.
        near: int64 [n, q], for each point some that are near to it.

    Returns:
        labels int64 [n], crowds of two and three.
    """
    n = len(squared)
    graph = rustworkx.PyGraph()
    graph.add_nodes_from(range(n))
    first, second = np.repeat(np.arange(n), near.shape[1]), near.ravel()
    edges = np.unique(np.sort(np.column_stack([first, second])[first != second], axis=1), axis=0)
    weights = squared[edges[:, 0], edges[:, 1]] / max(float(squared.max()), 1e-30)
    graph.add_edges_from([(int(a), int(b), float(w)) for (a, b), w in zip(edges, weights, strict=True)])
    pairs = rustworkx.max_weight_matching(graph, max_cardinality=True, weight_fn=lambda w: int((1 - w) * SCALE))
    labels = np.full(n, -1, np.int64)
    for crowd, (a, b) in enumerate(sorted(tuple(sorted(pair)) for pair in pairs)):
        labels[[a, b]] = crowd
    rest = np.flatnonzero(labels < 0)
    if len(rest) > len(pairs):
        theirs = squared[np.ix_(rest, rest)]
        count = min(near.shape[1], len(rest)) - 1
        labels[rest] = len(pairs) + match(theirs, np.argpartition(theirs, count, axis=1)[:, : count + 1])
    _join_the_rest(squared, labels)
    return labels


def _join_the_rest(squared: np.ndarray, labels: np.ndarray) -> None:
    """Each point without a pair joins one that nobody else joined."""
    rest = np.flatnonzero(labels < 0)
    pairs = labels.max() + 1
    paired = np.flatnonzero(labels >= 0)
    for point in rest:
        cost = np.zeros(pairs)
        np.add.at(cost, labels[paired], squared[point, paired])
        full = np.bincount(labels[labels >= 0], minlength=pairs) > 2
        cost[full] = np.inf
        labels[point] = int(cost.argmin())
