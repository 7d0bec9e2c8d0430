import numpy as np
import pytest

from sparra.errors import UserError
from sparra.radiology.radiomics.region import REGION_IBSI_IDS, RadiomicsSettings, region_features


@pytest.fixture
def region() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    z, y, x = np.indices((20, 18, 16))
    mask = (z - 9) ** 2 + (y - 9) ** 2 + (x - 8) ** 2 < 40
    return np.rint(rng.normal(40, 50, mask.shape)).astype(np.float32), mask


def test_every_feature_has_its_own_identifier() -> None:
    names = [name for ids in REGION_IBSI_IDS.values() for name in ids]
    ids = [ibsi for ids in REGION_IBSI_IDS.values() for ibsi in ids.values() if ibsi]
    assert len(set(names)) == len(names)
    assert len(set(ids)) == len(ids) == len(names) - 3
    assert all(len(ibsi) == 4 for ibsi in ids)


def test_families_are_computed_as_asked(region: tuple[np.ndarray, np.ndarray]) -> None:
    volume, mask = region
    every = region_features(volume, mask, (1, 1, 1), RadiomicsSettings())
    assert tuple(every) == tuple(RadiomicsSettings().ibsi_ids)
    for family, ids in REGION_IBSI_IDS.items():
        own = region_features(volume, mask, (1, 1, 1), RadiomicsSettings(families=(family,)))
        assert own == {name: every[name] for name in ids}


def test_what_lies_outside_does_not_matter(region: tuple[np.ndarray, np.ndarray]) -> None:
    volume, mask = region
    settings = RadiomicsSettings(intensity_range=(-150, 250))
    first = region_features(volume, mask, (1, 1, 1), settings)
    assert region_features(np.where(mask, volume, 3000), mask, (1, 1, 1), settings) == first


def test_shape_heeds_no_resegmentation(region: tuple[np.ndarray, np.ndarray]) -> None:
    volume, mask = region
    narrow = region_features(volume, mask, (1, 1, 1), RadiomicsSettings(intensity_range=(0, 60)))
    wide = region_features(volume, mask, (1, 1, 1), RadiomicsSettings())
    assert narrow["morph_volume"] == wide["morph_volume"]
    assert narrow["stat_max"] <= 60 < wide["stat_max"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"bin_count": 32}, "either bin_width_hu or bin_count"),
        ({"bin_width_hu": None}, "either bin_width_hu or bin_count"),
        ({"intensity_range": (100, -100)}, "must rise"),
        ({"families": ("shape", "shape")}, "twice"),
        ({"families": ("shap",)}, "families"),
    ],
)
def test_settings_that_do_not_fit_are_refused(options: dict, text: str) -> None:
    with pytest.raises(UserError, match=text):
        RadiomicsSettings.from_mapping(options, where="options")


def test_too_many_levels_are_an_error(region: tuple[np.ndarray, np.ndarray]) -> None:
    volume, mask = region
    with pytest.raises(UserError, match="grey levels"):
        region_features(volume, mask, (1, 1, 1), RadiomicsSettings(bin_width_hu=0.01))
