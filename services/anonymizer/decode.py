"""bytes -> photo. Everything that is not pixels ends here."""

import io
import warnings
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
from PIL import Image, ImageCms, ImageFile, ImageOps, UnidentifiedImageError

from services.errors import BadPhoto, PhotoTooLarge, UnsupportedMediaType

PhotoFormat = Literal["jpeg", "png", "webp"]
ACCEPTED = "accepted are JPEG, PNG and WebP with one frame"
_FORMATS: dict[str, PhotoFormat] = {"JPEG": "jpeg", "MPO": "jpeg", "PNG": "png", "WEBP": "webp"}
STRIP_PX = 4_000_000  # pixels converted at a time
_STILL = {"JPEG", "MPO"}  # an MPO's further frames are other views of the first; only the first is read

ImageFile.LOAD_TRUNCATED_IMAGES = False
Image.MAX_IMAGE_PIXELS = None  # the limit is ours, from the settings, and is checked before pixels are decoded


@dataclass(frozen=True)
class Photo:
    """A photo as it came in, upright, without metadata."""

    pixels: np.ndarray  # uint8 [H, W, 3] RGB, sRGB, read-only
    format: PhotoFormat
    grey: bool  # it held no colour, and is written without

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])


def pixels_of(data: bytes, max_pixels: int, min_side_px: int = 1, max_side_px: int = 16_383) -> int:
    """How many pixels a photo has, by its header: nothing is decoded. Arguments and errors are those of `decode`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = _open(data, max_pixels, min_side_px, max_side_px)
    return image.size[0] * image.size[1]


def decode(data: bytes, max_pixels: int, min_side_px: int = 1, max_side_px: int = 16_383) -> Photo:
    """Reads one photo: EXIF orientation applied, colours brought to sRGB, transparency flattened onto white.

    Palette, grey, CMYK and 16-bit pictures become 8-bit RGB. Metadata is dropped with the file.

    Args:
        data: the file's bytes.
        max_pixels: most pixels (width x height), checked on the header before anything is decoded.
        min_side_px, max_side_px: shortest and longest side allowed.

    Raises:
        UnsupportedMediaType: not JPEG, PNG or WebP.
        PhotoTooLarge: more pixels than allowed.
        BadPhoto: empty, truncated, corrupt, animated, or too small.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on odd metadata; none of it is kept
        image = _open(data, max_pixels, min_side_px, max_side_px)
        source = cast(str, image.format)
        try:
            image.load()
            pixels, grey = _to_rgb(image)
        except MemoryError:
            raise PhotoTooLarge("the photo does not fit in memory; send a smaller one") from None
        except Exception as broken:
            raise BadPhoto(f"the image is truncated or corrupt ({type(broken).__name__}); {ACCEPTED}") from None
    return Photo(pixels, _FORMATS[source], grey)


def _open(data: bytes, max_pixels: int, min_side_px: int, max_side_px: int) -> Image.Image:
    """The photo with its header read, within the limits."""
    if not data:
        raise BadPhoto(f"the body is empty; {ACCEPTED}")
    try:
        image = Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP"))
    except UnidentifiedImageError:
        raise UnsupportedMediaType(f"not an image that is accepted; {ACCEPTED}") from None
    except Exception as broken:  # a parser's many ways to fail on hostile headers
        raise BadPhoto(f"the image's header is corrupt ({type(broken).__name__}); {ACCEPTED}") from None
    _check(image, max_pixels, min_side_px, max_side_px)
    return image


def _check(image: Image.Image, max_pixels: int, min_side_px: int, max_side_px: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise PhotoTooLarge(f"{width} x {height} is {width * height:,} pixels; at most {max_pixels:,} are accepted")
    if max(width, height) > max_side_px:
        raise PhotoTooLarge(f"{width} x {height} is too long; the longer side may have {max_side_px:,} px at most")
    if min(width, height) < min_side_px:
        raise BadPhoto(f"{width} x {height} is too small; the shorter side must be at least {min_side_px} px")
    if image.format not in _STILL and getattr(image, "n_frames", 1) > 1:
        raise BadPhoto(f"the image is animated ({image.n_frames} frames); {ACCEPTED}")  # type: ignore[attr-defined]


def _to_rgb(image: Image.Image) -> tuple[np.ndarray, bool]:
    """The pixels, uint8 [H, W, 3], read-only; and whether they hold no colour.

    In strips: each step of a conversion makes a picture of its own, and several of a large photo are too much memory.
    """
    ImageOps.exif_transpose(image, in_place=True)
    grey = image.mode in ("1", "L", "LA") or image.mode.startswith("I") or image.mode == "F"
    to_srgb = None if grey else _to_srgb(image)
    rows = max(1, STRIP_PX // image.width)
    if rows >= image.height:
        return np.asarray(_strip_to_rgb(image, to_srgb)), grey  # not np.array, which takes longer than decoding did
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        pixels[top : top + rows] = np.asarray(_strip_to_rgb(strip, to_srgb))
    pixels.flags.writeable = False
    return pixels, grey


def _strip_to_rgb(image: Image.Image, to_srgb: ImageCms.ImageCmsTransform | None) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":  # 16 bits a channel
        values = np.clip(np.asarray(image), 0, 65_535).astype(np.uint32)
        image = Image.fromarray(((values + 128) // 257).astype(np.uint8), "L")
    alpha = None
    if image.mode in ("LA", "PA", "RGBA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
    if to_srgb is not None:
        image = ImageCms.applyTransform(image if image.mode == "CMYK" else image.convert("RGB"), to_srgb) or image
    if image.mode != "RGB":
        image = image.convert("RGB")
    if alpha is not None:
        image = Image.composite(image, Image.new("RGB", image.size, "white"), alpha)
    return image


def _to_srgb(image: Image.Image) -> ImageCms.ImageCmsTransform | None:
    """What brings a photo's colours to sRGB; None where it has no profile, or one that cannot be used."""
    profile = image.info.get("icc_profile")
    if not profile:
        return None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = "CMYK" if image.mode == "CMYK" else "RGB"
        return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None  # a profile that cannot be read is as good as none
