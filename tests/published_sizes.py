"""Files of the published models' sizes with random weights, for figures that anybody can print.

`python -m tests.published_sizes FOLDER` writes ffhq.pkl (StyleGAN, 1024 px), rafd.h5 (the CNN) and facenet.pb.
"""

import sys
from pathlib import Path

from tests.parity.test_facenet import freeze
from tests.stylegan import files as stylegan_files
from tests.unit import keras_files


def main(folder: Path) -> None:
    """Writes the three files."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {"latent_size": 512, "dlatent_size": 512, "mapping_fmaps": 512, "mapping_layers": 8}
    wide = {"fmap_base": 8192, "fmap_max": 512, "resolution": 1024}
    stylegan_files.write(folder / "ffhq.pkl", stylegan_files.generator(**sizes, **wide))
    network = keras_files.generator(ids=57, start=(5, 4), blocks=(128, 128, 96, 96, 32, 8), hidden=512)
    keras_files.write(folder / "rafd.h5", network, "keras1")
    freeze(folder / "facenet.pb", dims=512, fused=True, blocks=(5, 10, 5))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
