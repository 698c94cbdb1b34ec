"""What is told of a point is where its pixel comes to lie."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from synth.page.effects import Floats, Warp, elastic_field, homography

SIZE = 400, 300
CORNERS = ((20.0, 10.0), (370.0, 40.0), (350.0, 280.0), (40.0, 250.0))


def _smooth(alpha: float, seed: int) -> tuple[Floats, Floats]:
    """A distortion of up to `alpha` pixels that bends whole words, far stronger than any page's."""
    noise = elastic_field(*SIZE, 1.0, 12.0, seed)
    assert noise is not None
    peak = max(float(np.abs(field).max()) for field in noise)
    return tuple((field * (alpha / peak)).astype(np.float32) for field in noise)  # type: ignore[return-value]


@given(st.lists(st.floats(0, 40), min_size=8, max_size=8))
@settings(max_examples=100, deadline=None)
def test_a_homography_carries_corners_to_corners(moves: list[float]) -> None:
    """The corners of the sheet come to lie exactly where they should, as OpenCV's own solver has them."""
    width, height = SIZE
    corners = (
        (moves[0], moves[1]),
        (width - moves[2], moves[3]),
        (width - moves[4], height - moves[5]),
        (moves[6], height - moves[7]),
    )
    ours = homography(corners, width, height)
    sheet = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
    theirs = cv2.getPerspectiveTransform(sheet, np.array(corners, np.float32))
    assert np.allclose(ours / ours[2, 2], theirs, atol=1e-3)


@pytest.mark.parametrize("alpha", [0.0, 1.0, 5.0])
def test_truth_follows_the_picture_through_every_distortion(alpha: float) -> None:
    """A dot drawn on the sheet is found on the page within half a pixel of where the truth puts it."""
    field = _smooth(alpha, 7) if alpha else None
    warp = Warp(CORNERS, SIZE, SIZE, field)
    across, down = warp.maps()
    for x, y in ((60, 50), (200, 150), (330, 70), (120, 240), (340, 260)):
        sheet = np.zeros((SIZE[1], SIZE[0]), np.uint8)
        sheet[y - 3 : y + 3, x - 3 : x + 3] = 255
        page = cv2.remap(sheet, across, down, cv2.INTER_LINEAR)
        told = warp.forward(np.array([[x, y]], np.float64))[0]
        assert np.abs(_centre(np.asarray(page, np.uint8)) - told).max() < 0.5


def test_a_pages_own_distortion_moves_truth_by_less_than_its_amplitude() -> None:
    """The published distortion is noise of at most one pixel: truth moves by no more than that."""
    field = elastic_field(*SIZE, 1.0, 0.3, 5)
    corners = ((0.0, 0.0), (400.0, 0.0), (400.0, 300.0), (0.0, 300.0))
    points = np.array([[x, y] for x in range(5, 395, 13) for y in range(5, 295, 11)], np.float64)
    moved = Warp(corners, SIZE, SIZE, field).forward(points)
    assert np.abs(moved - points).max() <= 1.0
    assert np.abs(moved - points).max() > 0.2


def test_no_amplitude_is_no_distortion() -> None:
    """Amplitude 0 makes no field at all."""
    assert elastic_field(10, 10, 0.0, 0.5, 1) is None


def _centre(page: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The centre of brightness, in the coordinates of quads: pixel 0 spans 0 to 1."""
    rows, columns = np.indices(page.shape)
    weight = page.sum(dtype=np.float64)
    return np.array([((columns + 0.5) * page).sum() / weight, ((rows + 0.5) * page).sum() / weight])
