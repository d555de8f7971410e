"""Writes StyleGAN (1) pickles with random weights: Python's own pickles of genuine arrays, as the official code makes.

Weights are such that every one of them is seen in the picture: noise strengths, biases and styles are far from zero.
"""

import pickle
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from math import log2
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

MODULE = "dnnlib.tflib.network"
DEFAULTS: dict[str, Any] = {
    "num_channels": 3,
    "resolution": 32,
    "label_size": 0,
    "latent_size": 24,
    "dlatent_size": 20,
    "mapping_layers": 3,
    "mapping_fmaps": 28,
    "mapping_lrmul": 0.01,
    "fmap_base": 256,
    "fmap_max": 12,
    "fmap_decay": 1.0,
    "fused_scale": "auto",
    "blur_filter": [1, 2, 1],
    "use_noise": True,
    "use_instance_norm": True,
    "use_pixel_norm": False,
}


class Network:
    """Pickles as the official class does; tests change what is in it before it is written."""

    def __init__(self, name: str, options: dict[str, Any], variables: dict[str, Any], **components: "Network"):
        self.version: Any = 3
        self.name: Any = name
        self.static_kwargs: Any = options
        self.components: Any = components
        self.build_module_src = "raise RuntimeError('the source in a pickle was run')"
        self.build_func_name = name
        self.variables: Any = list(variables.items())

    def __getitem__(self, variable: str) -> Any:
        return dict(self.variables)[variable]

    def __setitem__(self, variable: str, value: Any) -> None:
        """Replaces a variable in its place, or adds one."""
        self.variables = list({**dict(self.variables), variable: value}.items())

    def __delitem__(self, variable: str) -> None:
        self.variables = [pair for pair in self.variables if pair[0] != variable]

    def all_options(self, **options: Any) -> None:
        """Changes options of this network and of its parts."""
        for network in (self, *self.components.values()):
            network.static_kwargs.update(options)


Network.__module__ = MODULE


def generator(name: str = "Gs", seed: int = 0, **options: Any) -> Network:
    """A generator with random weights.

    Args:
        options: what differs from `DEFAULTS`, whether this writer knows it or not.
    """
    chosen = {**DEFAULTS, **options}
    rng = np.random.default_rng(seed)
    parts = {
        "synthesis": Network("G_synthesis", dict(chosen), _synthesis(rng, chosen)),
        "mapping": Network("G_mapping", dict(chosen), _mapping(rng, chosen)),
    }
    average = _normal(rng, chosen["dlatent_size"]) / 4
    return Network(name, dict(chosen), {"lod": np.float32(0), "dlatent_avg": average}, **parts)


def _normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, dtype=np.float32)


def _mapping(rng: np.random.Generator, options: dict[str, Any]) -> dict[str, np.ndarray]:
    count, width, rate = (options[key] for key in ("mapping_layers", "mapping_fmaps", "mapping_lrmul"))
    sides = [options["latent_size"], *[width] * (count - 1), options["dlatent_size"]]
    variables = {}
    for i in range(count):
        variables[f"Dense{i}/weight"] = _normal(rng, sides[i], sides[i + 1]) / np.float32(rate)
        variables[f"Dense{i}/bias"] = _normal(rng, sides[i + 1]) / np.float32(5 * rate)
    return variables


def _synthesis(rng: np.random.Generator, options: dict[str, Any]) -> dict[str, np.ndarray]:
    stages, dlatent = int(log2(options["resolution"])), options["dlatent_size"]
    channels = [
        min(int(options["fmap_base"] / 2.0 ** (stage * options["fmap_decay"])), options["fmap_max"])
        for stage in range(stages)
    ]
    variables: dict[str, Any] = {"lod": np.float32(0)}
    for index in range(2 * (stages - 1)) if options["use_noise"] else ():
        side = 2 ** (index // 2 + 2)
        variables[f"noise{index}"] = _normal(rng, 1, 1, side, side)
    variables["4x4/Const/const"] = 1 + _normal(rng, 1, channels[1], 4, 4) / 2
    for stage in range(1, stages):
        side, out = 2 ** (stage + 1), channels[stage]
        for scope in ("Const", "Conv") if stage == 1 else ("Conv0_up", "Conv1"):
            name = f"{side}x{side}/{scope}"
            if scope != "Const":
                variables[f"{name}/weight"] = _normal(rng, 3, 3, channels[stage - (scope == "Conv0_up")], out)
            if options["use_noise"]:
                variables[f"{name}/Noise/weight"] = _normal(rng, out) / 4
            variables[f"{name}/bias"] = _normal(rng, out) / 4
            variables[f"{name}/StyleMod/weight"] = _normal(rng, dlatent, 2 * out)
            variables[f"{name}/StyleMod/bias"] = _normal(rng, 2 * out) / 4
        lod = stages - 1 - stage  # all but the last are left over from progressive growing
        variables[f"ToRGB_lod{lod}/weight"] = _normal(rng, 1, 1, out, 3) / 4
        variables[f"ToRGB_lod{lod}/bias"] = _normal(rng, 3) / 8
    return variables


def triple(average: Network, trained: Network | None = None, discriminator: Any = None) -> tuple[Any, ...]:
    """What a file holds: G, D, Gs. Without a G it is the Gs once more, without a D an empty network."""
    return trained or average, discriminator or Network("D", {}, {}), average


def dumps(value: Any, protocol: int = 3) -> bytes:
    """Pickles a value, its `Network`s as the official class."""
    with _official():
        return pickle.dumps(value, protocol)


def write(
    path: Path,
    average: Network,
    trained: Network | None = None,
    discriminator: Network | None = None,
    protocol: int = 3,
) -> Path:
    """Writes a file; the source in every network would leave `ran` beside it."""
    networks = triple(average, trained, discriminator)
    for network in networks:
        for part in (network, *network.components.values()):
            part.build_module_src = f"import pathlib; pathlib.Path({str(path.with_name('ran'))!r}).touch()"
    with _official(), path.open("wb") as stream:
        pickle.dump(networks, stream, protocol)
    return path


@contextmanager
def _official() -> Iterator[None]:
    """The official modules, as long as something is written; Python's pickles look for what they name."""
    names = [MODULE.rsplit(".", cut)[0] for cut in (2, 1)] + [MODULE]
    assert not any(name in sys.modules for name in names)
    sys.modules.update({name: ModuleType(name) for name in names})
    sys.modules[MODULE].Network = Network  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]
