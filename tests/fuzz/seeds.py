"""Valid photos of every kind that is accepted, made here, each with a marker in all the metadata that it can hold."""

import io
import struct
import zlib
from itertools import product

import cv2
import numpy as np
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

MARKER = b"ANONFACES-FUZZ-MARKER"
ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)  # x, y, steps


def scene(width: int = 96, height: int = 64) -> np.ndarray:
    """A picture with edges, gradients and noise, uint8 [height, width, 3]."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:height, :width]
    waves = np.stack([x * 255 // width, y * 255 // height, (x * y) % 256], axis=-1)
    waves[height // 4 : height // 2, width // 4 : width // 2] = (220, 180, 150)
    return np.clip(waves + rng.integers(-20, 20, waves.shape), 0, 255).astype(np.uint8)


def chunk(kind: bytes, body: bytes) -> bytes:
    """One PNG chunk."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def interlaced(pixels: np.ndarray) -> bytes:
    """A PNG in Adam7 order, which Pillow reads and does not write."""
    height, width = pixels.shape[:2]
    rows = b""
    for x, y, step_x, step_y in ADAM7:
        for row in pixels[y::step_y, x::step_x]:
            rows += b"\0" + row.tobytes() if row.size else b""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1)
    text = chunk(b"tEXt", b"Comment\0" + MARKER)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + text + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010E] = exif[0x013B] = MARKER.decode()
    exif.get_ifd(0x8825)[29] = MARKER.decode()  # GPS
    return exif


def _file(image: Image.Image, form: str, **options: object) -> bytes:
    sink = io.BytesIO()
    image.save(sink, form, **options)
    return sink.getvalue()


def jpegs(pixels: np.ndarray) -> dict[str, bytes]:
    """Baseline, progressive, grey, CMYK, turned, with a profile, several views (MPO), restart markers."""
    image = Image.fromarray(pixels)
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    told = {"comment": MARKER, "xmp": b"<x>" + MARKER + b"</x>"}
    return {
        "jpeg": _file(image, "JPEG", quality=90, **told),
        "jpeg 4:4:4": _file(image, "JPEG", subsampling=0, exif=_exif(1)),
        "jpeg progressive": _file(image, "JPEG", progressive=True, optimize=True, exif=_exif(6)),
        "jpeg grey": _file(image.convert("L"), "JPEG", exif=_exif(3)),
        "jpeg cmyk": _file(image.convert("CMYK"), "JPEG", **told),
        "jpeg profile": _file(image, "JPEG", icc_profile=icc, exif=_exif(8)),
        "jpeg restarts": _file(image, "JPEG", restart_marker_blocks=3),
        "mpo": _file(image, "MPO", save_all=True, append_images=[image.rotate(3)], exif=_exif(1)),
    }


def pngs(pixels: np.ndarray) -> dict[str, bytes]:
    """Every colour type, 1 to 16 bits, interlaced, with text, a profile, and transparency."""
    image = Image.fromarray(pixels)
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    text = PngInfo()
    text.add_text("Comment", MARKER.decode())
    text.add_itxt("XML:com.adobe.xmp", MARKER.decode(), zip=True)
    deep = (pixels.astype(np.uint16) << 8) | 0x5A
    alpha = image.copy()
    alpha.putalpha(Image.fromarray(pixels[..., 1]))
    files = {f"png {mode}": _file(image.convert(mode), "PNG", pnginfo=text) for mode in ("RGB", "L", "1", "P")}
    return files | {
        "png RGBA": _file(alpha, "PNG", pnginfo=text, icc_profile=icc, exif=_exif(5)),
        "png LA": _file(alpha.convert("LA"), "PNG", pnginfo=text),
        "png palette alpha": _file(image.quantize(16), "PNG", transparency=bytes(range(0, 256, 16)), pnginfo=text),
        "png key colour": _file(image, "PNG", transparency=(220, 180, 150)),
        "png 16-bit grey": _file(Image.fromarray(deep[..., 0]), "PNG", pnginfo=text),
        "png 16-bit RGB": cv2.imencode(".png", deep)[1].tobytes(),
        "png 16-bit RGBA": cv2.imencode(".png", np.dstack([deep, deep[..., 0]]))[1].tobytes(),
        "png interlaced": interlaced(pixels),
        "png 4-bit": _file(image.quantize(12), "PNG", bits=4),
    }


def webps(pixels: np.ndarray) -> dict[str, bytes]:
    """Lossy, lossless, with transparency, with metadata."""
    image = Image.fromarray(pixels)
    alpha = image.copy()
    alpha.putalpha(Image.fromarray(pixels[..., 2]))
    told = {"exif": _exif(6).tobytes(), "xmp": MARKER}
    options = {"": {"quality": 80}, " lossless": {"lossless": True}}
    files = {}
    for (name, chosen), (kind, picture) in product(options.items(), (("", image), (" alpha", alpha))):
        files[f"webp{name}{kind}"] = _file(picture, "WEBP", **chosen)
        files[f"webp{name}{kind} metadata"] = _file(picture, "WEBP", **chosen, **told)
    return files


def seeds(pixels: np.ndarray | None = None) -> dict[str, bytes]:
    """All of them, by kind, in a fixed order."""
    picture = scene() if pixels is None else pixels
    return jpegs(picture) | pngs(picture) | webps(picture)
