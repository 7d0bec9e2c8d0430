import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sparra.errors import UserError
from sparra.pathology import slide as slide_module
from sparra.pathology.decoders.base import Decoder
from sparra.pathology.decoders.by_openslide import OpenSlideDecoder
from sparra.pathology.decoders.by_tifffile import TiffDecoder
from sparra.pathology.slide import Slide, check_slide

from .conftest import WriteSlide

PERIOD_UM = 16.0


def wave(x_um: np.ndarray, y_um: np.ndarray) -> np.ndarray:
    """Red waves along x, green along y, blue is constant."""
    red = 128 + 90 * np.cos(2 * np.pi * x_um / PERIOD_UM)[None, :] + 0 * y_um[:, None]
    green = 128 + 90 * np.sin(2 * np.pi * y_um / PERIOD_UM)[:, None] + 0 * x_um[None, :]
    return np.stack([red, green, np.full_like(red, 60)], axis=-1)


def wave_picture(width: int, height: int, mpp: float) -> np.ndarray:
    x, y = (np.arange(width) + 0.5) * mpp, (np.arange(height) + 0.5) * mpp
    return np.rint(wave(x, y)).astype(np.uint8)


def expected(x_um: float, y_um: float, mpp: float, size: int) -> np.ndarray:
    steps = (np.arange(size) + 0.5) * mpp
    return wave(x_um + steps, y_um + steps)


# One pixel of shift at 0.5 µm would change a value by up to 18.
@pytest.mark.parametrize("mpp", [0.25, 0.37, 0.5, 0.73, 1.0])
@pytest.mark.parametrize("levels", [1, 3])
@pytest.mark.parametrize("corner", [(0.0, 0.0), (101.37, 53.11), (350.0, 120.0)])
def test_a_period_in_micrometres_lands_on_the_right_pixels(
    write_slide: WriteSlide, mpp: float, levels: int, corner: tuple[float, float]
) -> None:
    # Odd sides: the levels' sizes do not divide.
    with Slide(write_slide(wave_picture(2047, 1023, 0.25), 0.25, levels)) as slide:
        tile = slide.read_um(*corner, 128 * mpp, 128).astype(float)
    difference = np.abs(tile - expected(*corner, mpp, 128))
    edge = 4 if corner == (0.0, 0.0) else 0  # beyond the border it is white
    assert difference[edge:, edge:].max() < 4


@pytest.fixture
def odd_mpp_slide(write_slide: WriteSlide) -> Slide:
    return Slide(write_slide(wave_picture(1100, 1100, 0.2503), 0.2503, 2))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(5, 150), st.floats(5, 150), st.floats(0.25, 1.4))
def test_any_corner_and_any_resolution_agree_with_the_pattern(
    odd_mpp_slide: Slide, x: float, y: float, mpp: float
) -> None:
    tile = odd_mpp_slide.read_um(x, y, 80 * mpp, 80).astype(float)
    assert np.abs(tile - expected(x, y, mpp, 80)).max() < 6


def test_unequal_pixels_are_resampled_to_square_ones(write_slide: WriteSlide) -> None:
    x, y = (np.arange(1600) + 0.5) * 0.25, (np.arange(1600) + 0.5) * 0.26
    path = write_slide(np.rint(wave(x, y)).astype(np.uint8), (0.25, 0.26), 1)
    with Slide(path) as slide:
        tile = slide.read_um(40, 200, 128, 256).astype(float)
    assert np.abs(tile - expected(40, 200, 0.5, 256)).max() < 4


def test_detail_finer_than_a_pixel_is_averaged_and_not_aliased(write_slide: WriteSlide) -> None:
    checks = (np.indices((1024, 1024)).sum(0) % 2 * 200).astype(np.uint8)
    with Slide(write_slide(np.repeat(checks[..., None], 3, axis=2), 0.25, 1)) as slide:
        for mpp in (0.5, 0.61, 0.9, 2.0):
            tile = slide.read_um(30.1, 30.2, 64 * mpp, 64).astype(float)
            assert np.abs(tile - 100).max() < 14, mpp


def test_beyond_the_border_it_is_white(write_slide: WriteSlide) -> None:
    with Slide(write_slide(np.full((512, 512, 3), 50, np.uint8), 0.5, 1)) as slide:
        tile = slide.read_um(-64, 192, 128, 256)
        assert (slide.read_um(1e4, 1e4, 128, 256) == 255).all()
    outside = np.ones((256, 256), bool)
    outside[:128, 128:] = False  # 64 µm inside along both axes
    near_border = np.zeros_like(outside)
    near_border[124:132], near_border[:, 124:132] = True, True
    assert (tile[outside & ~near_border] == 255).all()
    assert (tile[~outside & ~near_border] == 50).all()


def test_overview_in_blocks_is_the_overview_at_once(write_slide: WriteSlide, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = np.random.default_rng(3).integers(0, 255, (900, 1300, 3), dtype=np.uint8)
    with Slide(write_slide(picture, 0.5, 1)) as slide:
        whole = slide.overview(7.3)
        monkeypatch.setattr(slide_module, "LARGEST_BLOCK_PX", 150)
        blocks = slide.overview(7.3)
    assert whole.shape == (62, 90, 3)
    difference = np.abs(whole.astype(int) - blocks.astype(int))
    # The picture is noise: a block out of place would differ by more than 5 in the mean.
    assert difference.mean() < 1
    assert difference.max() < 10
    assert whole[:-1, :-1].mean() == pytest.approx(picture.mean(), abs=1)


@pytest.mark.parametrize("decoder", [TiffDecoder, OpenSlideDecoder])
def test_pixels_are_the_same_after_forgetting(
    write_slide: WriteSlide, monkeypatch: pytest.MonkeyPatch, decoder: type[Decoder]
) -> None:
    monkeypatch.setattr(slide_module, "open_decoder", decoder)
    with Slide(write_slide(wave_picture(800, 800, 0.25), 0.25)) as slide:
        before = slide.read_um(30, 40, 128, 256)
        slide.forget()
        assert np.array_equal(slide.read_um(30, 40, 128, 256), before)
        assert before.std() > 5


def test_resolution_of_the_file_and_of_the_table(write_slide: WriteSlide) -> None:
    path = write_slide(wave_picture(300, 300, 0.25), 0.2278)
    with Slide(path) as slide:
        assert slide.resolution.source == "metadata"
        assert slide.resolution.x == pytest.approx(0.2278, rel=1e-4)
        assert slide.size_um == pytest.approx((68.34, 68.34), rel=1e-4)
    with Slide(path, 0.5) as slide:
        assert slide.describe()["mpp_source"] == "table"
        assert slide.describe()["mpp_in_header"] == pytest.approx(0.2278, rel=1e-4)
        assert slide.size_um == (150, 150)


def test_level_is_the_coarsest_that_is_fine_enough(write_slide: WriteSlide) -> None:
    with Slide(write_slide(wave_picture(1601, 1203, 0.25), 0.25, 3)) as slide:
        levels = [slide.level_mpp(mpp) for mpp in (0.1, 0.3, 0.48, 0.4999, 0.97, 4.0)]
    assert levels == pytest.approx([0.25, 0.25, 0.25, 0.5, 0.5, 1.0])


def test_description_carries_no_free_text(write_slide: WriteSlide) -> None:
    path = write_slide(wave_picture(300, 300, 0.25), description="patient Doe John born 1950")
    with Slide(path) as slide:
        text = json.dumps(slide.describe())
    assert "Doe" not in text
    assert "slide.tif" not in text


@pytest.mark.parametrize(
    ("written", "supplied", "words"),
    [
        (None, None, "does not say its resolution"),
        (352.8, None, "352.8 µm per pixel, is not between"),
        (0.25, 0.001, "images.csv, 0.001 µm"),
        (0.25, float("nan"), "is not between"),
        ((0.25, 0.30), None, "differs along x (0.25) and y (0.3 µm)"),
    ],
)
def test_unknown_or_absurd_resolution_tells_of_the_mpp_column(
    write_slide: WriteSlide, written: float | None, supplied: float | None, words: str
) -> None:
    path = write_slide(wave_picture(300, 300, 0.25), written, 1)
    with pytest.raises(UserError) as caught:
        check_slide(path, supplied)
    assert words in str(caught.value)
    assert "'mpp' column of images.csv" in str(caught.value)
    check_slide(path, 0.25)


def test_absent_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        check_slide(tmp_path / "none.svs", 0.5)
    text = tmp_path / "text.svs"
    text.write_text("not a slide")
    with pytest.raises(UserError, match="cannot open this file as a slide"):
        check_slide(text, 0.5)
    with pytest.raises(UserError, match="a folder without DICOM files"):
        check_slide(tmp_path, 0.5)


@pytest.mark.parametrize("kept", [0.02, 0.4, 0.97])
def test_truncated_slide_is_one_sentence(write_slide: WriteSlide, kept: float) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (1500, 1500, 3), dtype=np.uint8)
    path = write_slide(noise, 0.5, 1)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(UserError) as caught:
        check_slide(path)
    message = str(caught.value)
    assert str(path) in message
    assert "Copy it again" in message
    assert "\n" not in message


def test_whole_slide_passes_the_check(write_slide: WriteSlide) -> None:
    check_slide(write_slide(wave_picture(700, 500, 0.25), 0.25, 3))
