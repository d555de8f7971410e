"""StyleGAN (1) as its paper and options say, in numpy: what the converted graph must agree with.

The network's official answers on a small file (with other code, on TensorFlow 1) anchor this one; see
tests/stylegan/test_parity.py.
"""

import numpy as np

from conversion.reference import conv2d, leaky_relu, upsample
from conversion.stylegan.network import Layer, Mapping, Synthesis

EPSILON = 1e-8


def mapping(network: Mapping, z: np.ndarray) -> np.ndarray:
    """`z float [N, latent]` -> `w float [N, dlatent]`."""
    x = z
    if network.normalise:
        x = x / np.sqrt((x**2).mean(axis=1, keepdims=True) + EPSILON)
    for layer in network.layers:
        x = leaky_relu(x @ layer.weight + layer.bias, network.slope)
    return x


def synthesis(network: Synthesis, w: np.ndarray) -> np.ndarray:
    """`w float [N, layers, dlatent]` -> pictures float [N, 3, R, R], about -1 to 1."""
    x = np.repeat(network.start[None], len(w), axis=0)
    for index, layer in enumerate(network.layers):
        if layer.weight is not None:
            if not layer.up:
                x = conv2d(x, layer.weight.transpose(3, 2, 0, 1))
            elif network.fused[index]:
                x = _blurred(_transposed(x, layer.weight), network.blur)
            else:
                x = _blurred(conv2d(upsample(x), layer.weight.transpose(3, 2, 0, 1)), network.blur)
        x = _epilogue(network, layer, x, w[:, index])
    pictures = np.einsum("co,nchw->nohw", network.to_rgb.weight, x, optimize=True)
    return pictures + network.to_rgb.bias[None, :, None, None]


def before_style(network: Synthesis, layer: Layer, x: np.ndarray) -> np.ndarray:
    """What follows a layer's convolution, up to its style: noise, bias, activation, norms. float [N, C, H, W]."""
    if layer.noise is not None and layer.strength is not None:
        x = x + layer.noise * layer.strength[None, :, None, None]
    x = leaky_relu(x + layer.bias[None, :, None, None], network.slope)
    if network.pixel_norm:
        x = x / np.sqrt((x**2).mean(axis=1, keepdims=True) + EPSILON)
    if network.instance_norm:
        x = x - x.mean(axis=(2, 3), keepdims=True)
        x = x / np.sqrt((x**2).mean(axis=(2, 3), keepdims=True) + EPSILON)
    return x


def _epilogue(network: Synthesis, layer: Layer, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    x = before_style(network, layer, x)
    style = w @ layer.style.weight + layer.style.bias
    scale, shift = np.split(style[:, :, None, None], 2, axis=1)
    return x * (scale + 1) + shift


def _transposed(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The fused way up: every pixel spreads a 4x4 stamp, the sum of four shifted kernels, at a stride of two."""
    n, _, height, width = x.shape
    wide = np.pad(weight, ((1, 1), (1, 1), (0, 0), (0, 0)))
    stamp = wide[1:, 1:] + wide[:-1, 1:] + wide[1:, :-1] + wide[:-1, :-1]
    out = np.zeros((n, weight.shape[3], 2 * height + 2, 2 * width + 2), x.dtype)
    for row in range(4):
        for column in range(4):
            spread = np.einsum("io,nihw->nohw", stamp[row, column], x, optimize=True)
            out[:, :, row : row + 2 * height : 2, column : column + 2 * width : 2] += spread
    return out[:, :, 1:-1, 1:-1]


def _blurred(x: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """A separable filter, zero beyond the edges."""
    reach = len(taps) // 2
    for axis in (2, 3):
        pad = [(0, 0)] * 4
        pad[axis] = (reach, reach)
        wide = np.pad(x, pad)
        parts = [tap * np.take(wide, range(i, i + x.shape[axis]), axis=axis) for i, tap in enumerate(taps)]
        x = np.sum(parts, axis=0, dtype=x.dtype)
    return x
