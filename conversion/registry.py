"""What can be converted: one row a kind of file, and one row a weight of the catalogue.

A new kind is a module with `convert(path, name, options)`, and a row here.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import Literal, cast

from conversion.converted import Converted
from services.errors import ConfigurationError, ConversionError

Network = Literal["Gs", "G"]
Noise = Literal["fixed", "none"]
Precision = Literal["fp32", "fp16"]


@dataclass(frozen=True)
class Options:
    """What a conversion may choose; each kind takes some of them."""

    network: Network = "Gs"  # which of a pickle's generators: the running average, or the trained one
    noise: Noise = "fixed"
    precision: Precision = "fp32"
    flip_kernels: bool = False  # the file was trained under Theano


@dataclass(frozen=True)
class Kind:
    """A format of weights; `module` converts it, and is imported only then: it may need packages of its own extra."""

    name: str
    module: str
    about: str
    options: tuple[str, ...] = ()
    extra: str = "convert"
    folder: bool = False  # its files come as a folder

    def convert(self, path: Path, name: str, options: Options) -> list[Converted]:
        """Converts a file (or folder) into models called after `name`, each compared with its source.

        Raises:
            ConversionError: the file is not of this kind, or an option does not belong to it.
            ConfigurationError: a package is missing.
        """
        changed = [f.name for f in fields(options) if getattr(options, f.name) != f.default]
        unfit = [option for option in changed if option not in self.options]
        if unfit:
            raise ConversionError(f"{self.name} files take no {' and no '.join(unfit)} (they take {self._takes()})")
        try:
            module = import_module(self.module)
        except ModuleNotFoundError as missing:
            if (missing.name or "").split(".")[0] in ("conversion", "services"):
                raise
            raise ConfigurationError(
                f"converting {self.name} needs the package {missing.name}; install the extra `{self.extra}`"
            ) from missing
        return cast(Callable[[Path, str, Options], list[Converted]], module.convert)(path, name, options)

    def _takes(self) -> str:
        return ", ".join(self.options) or "no options"


KINDS = {
    kind.name: kind
    for kind in (
        Kind("stylegan", "conversion.stylegan.convert", "StyleGAN pickle (.pkl)", ("network", "noise", "precision")),
        Kind("cnn", "conversion.deconvfaces.convert", "up-convolutional generator, Keras (.h5)", ("flip_kernels",)),
        Kind("dlib", "conversion.dlib_resnet.convert", "dlib face recognition ResNet (.dat)"),
        Kind("facenet", "conversion.facenet.convert", "FaceNet, frozen TensorFlow graph (.pb)", extra="facenet"),
        Kind("pca", "conversion.pca.convert", "PCA of chips (.npz, as `models fit pca` writes it)"),
        Kind(
            "mobile-stylegan", "conversion.mobile_stylegan.convert", "MobileStyleGAN, OpenVINO IR (folder)", folder=True
        ),
        Kind("inversion", "conversion.inversion.model", "fitted photo -> latent (.npz of `models fit inversion`)"),
        Kind("tfjs", "conversion.tfjs.convert", "MobileFace or FaceRes, TensorFlow.js (folder)", folder=True),
        Kind("centerface", "conversion.centerface", "CenterFace detector (.onnx)"),
        Kind("age-gender", "conversion.age_gender", "apparent age and gender, two .onnx files (folder)", folder=True),
        Kind("emotion", "conversion.emotion", "shown emotion, TensorFlow.js (folder)", folder=True),
    )
}


@dataclass(frozen=True)
class Recipe:
    """How a row of the weights catalogue becomes the models of the committed repository."""

    weights: str
    kind: str
    models: tuple[str, ...]

    def convert(self, files: dict[str, Path]) -> list[Converted]:
        """Converts the verified files of the row."""
        paths = list(files.values())
        return kind(self.kind).convert(paths[0] if len(paths) == 1 else paths[0].parent, self.weights, Options())


RECIPES = {
    recipe.weights: recipe
    for recipe in (
        Recipe(
            "mobile-stylegan",
            "mobile-stylegan",
            ("mobile-stylegan-mapping", "mobile-stylegan-512", "mobile-stylegan-1024"),
        ),
        Recipe("dlib-resnet", "dlib", ("dlib-resnet",)),
        Recipe("inversion-mobile-stylegan", "inversion", ("inversion-mobile-stylegan",)),
        Recipe("mobileface", "tfjs", ("mobileface",)),
        Recipe("faceres", "tfjs", ("faceres",)),
        Recipe(
            "centerface",
            "centerface",
            ("centerface-192", "centerface-any", "centerface-any-int8"),
        ),
        Recipe("age-gender", "age-gender", ("age-gender",)),
        Recipe("emotion", "emotion", ("emotion",)),
    )
}


def kind(name: str) -> Kind:
    """The row of that kind.

    Raises:
        ConversionError: there is none.
    """
    if name not in KINDS:
        raise ConversionError(f"nothing known converts {name!r}; there are {', '.join(KINDS)}")
    return KINDS[name]


def recipe(name: str) -> Recipe:
    """The row of that weight.

    Raises:
        ConversionError: there is none.
    """
    if name not in RECIPES:
        raise ConversionError(f"nothing known converts {name!r}; there are {', '.join(RECIPES)}")
    return RECIPES[name]
