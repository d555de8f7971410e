"""Every kind of file that may arrive becomes upright 8-bit sRGB, or is refused with one of our errors."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from services.anonymizer.decode import Photo, decode
from services.errors import AnonFacesError, BadPhoto, PhotoTooLarge, UnsupportedMediaType

LIMIT = 1_000_000
SCENE = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)
LOSSLESS = {"PNG": {}, "WEBP": {"lossless": True, "exact": True}}
UPRIGHT = {  # EXIF 2.3, section 4.6.4: what brings a stored picture upright
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, 1),
}


def file_of(image: Image.Image | np.ndarray, form: str, **options: object) -> bytes:
    sink = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(sink, form, **options)
    return sink.getvalue()


def read(data: bytes) -> Photo:
    return decode(data, LIMIT)


def frames(count: int = 3) -> list[Image.Image]:
    return [Image.new("RGB", (20, 20), (80 * i, 10, 200)) for i in range(count)]


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


# --- accepted ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", LOSSLESS)
def test_lossless_photo_comes_through_exactly(form):
    np.testing.assert_array_equal(read(file_of(SCENE, form, **LOSSLESS[form])).pixels, SCENE)


def test_jpeg_comes_through_within_its_own_loss():
    smooth = np.full((32, 32, 3), (200, 90, 40), np.uint8)
    assert np.abs(read(file_of(smooth, "JPEG", quality=95)).pixels.astype(int) - smooth).max() <= 3


@pytest.mark.parametrize(("form", "name"), [("JPEG", "jpeg"), ("PNG", "png"), ("WEBP", "webp")])
def test_format_is_that_of_the_file(form, name):
    assert read(file_of(SCENE, form)).format == name


def test_width_and_height_are_not_swapped():
    photo = read(file_of(SCENE, "PNG"))
    assert (photo.width, photo.height) == (40, 24)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_is_applied(form, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = read(file_of(SCENE, form)).pixels
    turned = read(file_of(SCENE, form, exif=exif)).pixels
    np.testing.assert_array_equal(turned, UPRIGHT[orientation](stored))


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_grey_photo_is_marked_grey(form):
    assert read(file_of(SCENE[..., 0], form)).grey


def test_grey_photo_has_three_equal_channels():
    np.testing.assert_array_equal(read(file_of(SCENE[..., 0], "PNG")).pixels, np.repeat(SCENE[..., :1], 3, axis=2))


def test_colour_photo_is_not_marked_grey():
    assert not read(file_of(SCENE, "JPEG")).grey


def test_cmyk_becomes_rgb():
    red = Image.new("CMYK", (32, 32), (0, 255, 255, 0))
    np.testing.assert_allclose(read(file_of(red, "JPEG", quality=95)).pixels.mean(axis=(0, 1)), (254, 0, 0), atol=3)


def test_sixteen_bit_grey_keeps_every_level():
    """65535 / 257 = 255, so these are the 16-bit spellings of the 8-bit levels."""
    levels = np.arange(256, dtype=np.uint16).reshape(16, 16)
    np.testing.assert_array_equal(read(file_of(levels * 257, "PNG")).pixels[..., 0], levels)


def test_palette_becomes_its_colours():
    picture = Image.new("P", (4, 4), 1)
    picture.putpalette([0, 0, 0, 12, 200, 77])
    assert read(file_of(picture, "PNG")).pixels[0, 0].tolist() == [12, 200, 77]


@pytest.mark.parametrize("form", LOSSLESS)
def test_transparency_is_flattened_onto_white(form):
    half = Image.new("RGBA", (4, 4), (255, 0, 51, 128))
    expected = np.array((255, 127, 153))  # 255 * (1 - 128/255) + c * 128/255
    assert np.abs(read(file_of(half, form, **LOSSLESS[form])).pixels[0, 0] - expected).max() <= 1


@pytest.mark.parametrize("form", LOSSLESS)
def test_pixels_hidden_by_zero_alpha_do_not_appear(form):
    hidden = Image.fromarray(np.dstack([SCENE, np.zeros(SCENE.shape[:2], np.uint8)]), "RGBA")
    data = file_of(hidden, form, **LOSSLESS[form])
    assert np.asarray(Image.open(io.BytesIO(data)))[..., :3].std() > 50  # the file does hold them
    assert (read(data).pixels == 255).all()


def test_grey_with_transparency_is_flattened_onto_white():
    assert read(file_of(Image.new("LA", (4, 4), (0, 55)), "PNG")).pixels[0, 0].tolist() == [200] * 3


def test_transparent_palette_entry_becomes_white():
    picture = Image.new("P", (4, 4), 1)
    picture.putpalette([0, 0, 0, 12, 200, 77])
    assert (read(file_of(picture, "PNG", transparency=1)).pixels == 255).all()


def test_first_frame_of_an_mpo_is_read_as_jpeg():
    first, second = Image.new("RGB", (32, 32), "blue"), Image.new("RGB", (32, 32), "red")
    data = file_of(first, "MPO", save_all=True, append_images=[second])
    assert Image.open(io.BytesIO(data)).format == "MPO"
    photo = read(data)
    assert photo.format == "jpeg"
    np.testing.assert_allclose(photo.pixels.mean(axis=(0, 1)), (0, 0, 254), atol=3)


# --- colour profiles --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def swapped_profile() -> bytes:
    """sRGB with its red and blue primaries exchanged, so that what the profile does is known exactly."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, blue = data.index(b"rXYZ", 128), data.index(b"bXYZ", 128)
    data[red : red + 4], data[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return bytes(data)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_colours_are_brought_to_srgb(mode, swapped_profile):
    """Whatever the file's layout: a camera's wide gamut must not shift because a picture has an alpha channel."""
    picture = Image.new("RGB", (4, 4), (200, 30, 60))
    picture = picture.quantize(2) if mode == "P" else picture.convert(mode)
    pixels = read(file_of(picture, "PNG", icc_profile=swapped_profile)).pixels
    np.testing.assert_allclose(pixels[0, 0], (60, 30, 200), atol=2)


@pytest.mark.parametrize("profile", [b"nonsense", b"\0" * 128, b"\xff" * 4000])
def test_unreadable_profile_is_ignored(profile):
    np.testing.assert_array_equal(read(file_of(SCENE, "PNG", icc_profile=profile)).pixels, SCENE)


def test_profile_of_another_colour_space_is_ignored():
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    np.testing.assert_array_equal(read(file_of(SCENE, "PNG", icc_profile=lab)).pixels, SCENE)


# --- refused ----------------------------------------------------------------------------------------------------


def test_animated_gif_is_an_unsupported_type():
    first, *rest = frames()
    with pytest.raises(UnsupportedMediaType):
        read(file_of(first, "GIF", save_all=True, append_images=rest))


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_animation_in_an_accepted_format_is_refused(form):
    first, *rest = frames()
    with pytest.raises(BadPhoto, match="3 frames"):
        read(file_of(first, form, save_all=True, append_images=rest, duration=100))


@pytest.mark.parametrize("form", ["BMP", "TIFF", "PPM"])
def test_other_image_formats_are_unsupported(form):
    with pytest.raises(UnsupportedMediaType):
        read(file_of(SCENE, form))


def test_empty_body_is_a_bad_photo():
    with pytest.raises(BadPhoto, match="empty"):
        read(b"")


def test_text_is_an_unsupported_type():
    with pytest.raises(UnsupportedMediaType):
        read(b"<svg xmlns='http://www.w3.org/2000/svg'/>")


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_truncated_photo_is_refused(form):
    data = file_of(SCENE, form)
    with pytest.raises(BadPhoto):
        read(data[: len(data) * 2 // 3])


def test_declared_size_is_refused_before_pixels_are_decoded():
    """No pixels follow this header: were they decoded first, the photo would be called truncated."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    with pytest.raises(PhotoTooLarge, match="20000 x 20000"):
        decode(bomb, 40_000_000)


@pytest.mark.parametrize(("limit", "accepted"), [(24 * 40, True), (24 * 40 - 1, False)])
def test_pixel_limit_is_inclusive(limit, accepted):
    data = file_of(SCENE, "PNG")
    if accepted:
        assert decode(data, limit).pixels.size == 24 * 40 * 3
    else:
        with pytest.raises(PhotoTooLarge):
            decode(data, limit)


@pytest.mark.parametrize("size", [(15, 100), (100, 15)])
def test_photo_with_too_short_a_side_is_refused(size):
    with pytest.raises(BadPhoto, match="too small"):
        decode(file_of(Image.new("RGB", size), "PNG"), LIMIT, min_side_px=16)


# --- hostile bytes ----------------------------------------------------------------------------------------------

VALID = {
    "JPEG": file_of(SCENE, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0"),
    "PNG": file_of(SCENE, "PNG", optimize=True),
    "WEBP": file_of(SCENE, "WEBP"),
}


@pytest.mark.parametrize("form", VALID)
@settings(max_examples=120)
@given(data=st.data())
def test_mutated_photo_decodes_or_is_refused(form, data):
    """Most flips go to the first bytes, where headers are."""
    raw = bytearray(VALID[form])
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, min(99, len(raw) - 1)) | st.integers(0, len(raw) - 1))
        raw[at] = data.draw(st.integers(0, 255))
    raw = raw[: data.draw(st.just(len(raw)) | st.integers(1, len(raw)))]
    try:
        photo = read(bytes(raw))
    except AnonFacesError:
        return
    assert photo.pixels.dtype == np.uint8
    assert photo.pixels.size <= 3 * LIMIT


@given(st.binary(min_size=1, max_size=200))
def test_random_bytes_are_refused(data):
    with pytest.raises((UnsupportedMediaType, BadPhoto)):
        read(data)
