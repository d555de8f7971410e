"""The picture of the parts is what the code and the chart say, and shows them so that they can be read."""

import itertools
import xml.etree.ElementTree as ElementTree

import pytest

from deploy.checks.architecture import HEIGHT, PICTURE, WIDTH, draw

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def picture() -> ElementTree.Element:
    return ElementTree.fromstring(PICTURE.read_text())


def test_picture_is_drawn_from_the_code_as_it_is():
    assert PICTURE.read_text() == draw(), "python -m deploy.checks.architecture"


def test_nothing_lies_outside(picture):
    for one in picture.iter(f"{SVG}rect"):
        x, y, width, height = (float(one.get(name, 0)) for name in ("x", "y", "width", "height"))
        assert 0 <= x <= x + width <= WIDTH
        assert 0 <= y <= y + height <= HEIGHT


def test_no_two_arrows_cross(picture):
    lines = [one.get("d") for one in picture.iter(f"{SVG}path") if one.get("class") == "arrow"]
    ends = [[tuple(map(float, point.split())) for point in line[1:].split("L")] for line in lines]
    assert len(ends) > 10
    across = [(a, b) for a, b in ends if a[1] == b[1]]
    down = [(a, b) for a, b in ends if a[0] == b[0]]
    assert len(across) + len(down) == len(ends)  # all are straight
    for (a, b), (c, d) in itertools.product(across, down):
        meets_x = min(a[0], b[0]) < c[0] < max(a[0], b[0])
        meets_y = min(c[1], d[1]) < a[1] < max(c[1], d[1])
        assert not (meets_x and meets_y)


def test_texts_fit_their_chips(picture):
    """By a wide font, whose letters take 0.56 of their height on average."""
    shapes = list(picture)
    chips = [(a, b) for a, b in itertools.pairwise(shapes) if a.get("height") == "28" and b.tag == f"{SVG}text"]
    assert len(chips) > 15
    for chip, text in chips:
        assert len(text.text) * 12 * 0.56 <= float(chip.get("width")), text.text
