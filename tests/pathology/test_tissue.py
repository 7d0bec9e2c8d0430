import numpy as np
import pytest

from sparra.pathology.settings import SlideSettings
from sparra.pathology.tissue import find_tissue, stain_signal, white_of

PINK, PURPLE, GLASS = (225, 170, 200), (130, 90, 160), (243, 243, 243)
SETTINGS = SlideSettings(outline_tolerance_um=0)

SHAPE = (200, 200)


def glass(side: int = 200, colour: tuple[int, int, int] = GLASS, noise: float = 1.5) -> np.ndarray:
    generator = np.random.default_rng(0)
    picture = np.asarray(colour) + generator.normal(0, noise, (side, side, 3))
    return np.clip(picture, 0, 255).astype(np.uint8)


def disc(side: int, radius: float) -> np.ndarray:
    y, x = np.indices((side, side)) - (side - 1) / 2
    return x**2 + y**2 <= radius**2


def test_only_stain_gives_a_signal() -> None:
    colours = [GLASS, (120, 120, 120), (2, 2, 2), (40, 150, 80), PINK, PURPLE, (150, 110, 80)]
    picture = np.repeat(np.array(colours, np.uint8)[None], 40, axis=0)
    signal = stain_signal(picture, white_of(picture))[0]
    assert (np.abs(signal[:3]) < 0.01).all()
    assert signal[3] < 0.01
    assert (signal[4:] > 0.1).all()


@pytest.mark.parametrize("background", [GLASS, (215, 215, 218), (238, 236, 228), (0, 0, 0)])
def test_empty_slide_has_no_tissue(background: tuple[int, int, int]) -> None:
    assert not find_tissue(glass(colour=background), 8.0, SETTINGS).mask(SHAPE).any()


@pytest.mark.parametrize("colour", [PINK, PURPLE])
def test_slide_full_of_tissue_is_kept_whole(colour: tuple[int, int, int]) -> None:
    assert find_tissue(glass(colour=colour, noise=6), 8.0, SETTINGS).mask(SHAPE).all()


@pytest.mark.parametrize("background", [GLASS, (215, 215, 218), (238, 236, 228)])
@pytest.mark.parametrize("colour", [PINK, PURPLE])
def test_area_of_a_disc(background: tuple[int, int, int], colour: tuple[int, int, int]) -> None:
    picture = glass(colour=background)
    picture[disc(200, 60)] = colour
    tissue = find_tissue(picture, 8.0, SETTINGS)
    assert tissue.area_mm2 == pytest.approx(np.pi * (60 * 0.008) ** 2, rel=0.06)


def test_grey_dust_pen_and_debris_are_left_out() -> None:
    picture = glass()
    picture[disc(200, 40)] = PINK
    picture[:30] = (60, 60, 60)
    picture[170:] = (50, 160, 90)
    picture[100:110, 10:20] = PURPLE  # 80 x 80 µm
    mask = find_tissue(picture, 8.0, SETTINGS).mask(SHAPE)
    assert not mask[:28].any()
    assert not mask[172:].any()
    assert not mask[:, :40].any()
    assert mask[disc(200, 38)].all()


def test_holes_are_filled_up_to_the_stated_area() -> None:
    picture = glass()
    picture[disc(200, 80)] = PINK
    picture[98:103, 60:65] = GLASS  # 40 x 40 µm, less after smoothing
    picture[85:115, 110:140] = GLASS  # 240 x 240 µm
    mask = find_tissue(picture, 8.0, SETTINGS).mask(SHAPE)
    assert mask[98:103, 60:65].all()
    assert not mask[92:108, 117:133].any()
    assert (
        find_tissue(picture, 8.0, SlideSettings(largest_hole_um2=1e5, outline_tolerance_um=0))
        .mask(SHAPE)[85:115, 110:140]
        .all()
    )


def test_areas_are_physical() -> None:
    coarse = glass()
    coarse[disc(200, 50)] = PINK
    fine = coarse.repeat(2, axis=0).repeat(2, axis=1)
    areas = [find_tissue(coarse, 8.0, SETTINGS).area_mm2, find_tissue(fine, 4.0, SETTINGS).area_mm2]
    assert areas[0] == pytest.approx(areas[1], rel=0.02)
