"""Networks as their definitions say, in numpy: what converted graphs of formats without a runtime are checked against.

Slow and plain on purpose. Nothing here is fused or reordered, so it shares no shortcut with the graphs it judges.
"""

import numpy as np


def conv2d(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Cross-correlation, stride 1, zero padding that keeps the size ("same", the larger half after for even kernels).

    Args:
        x: float [N, I, H, W].
        weight: float [O, I, kh, kw].

    Returns:
        float [N, O, H, W].
    """
    kh, kw = weight.shape[2:]
    height, width = x.shape[2:]
    top, left = (kh - 1) // 2, (kw - 1) // 2
    padded = np.pad(x, ((0, 0), (0, 0), (top, kh - 1 - top), (left, kw - 1 - left)))
    out = np.zeros((len(x), len(weight), height, width), np.result_type(x, weight))
    for row in range(kh):
        for column in range(kw):
            window = padded[:, :, row : row + height, column : column + width]
            out += np.einsum("oi,nihw->nohw", weight[:, :, row, column], window, optimize=True)
    return out


def leaky_relu(x: np.ndarray, slope: float) -> np.ndarray:
    """max(x, slope x), for a slope below 1."""
    return np.where(x > 0, x, x * slope)


def upsample(x: np.ndarray, rows: int = 2, columns: int = 2) -> np.ndarray:
    """Repeats every pixel of `x float [N, C, H, W]`: nearest neighbour."""
    return x.repeat(rows, axis=2).repeat(columns, axis=3)
