from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from sparra.errors import UserError
from sparra.radiology.encoders import ct_encoders
from sparra.radiology.extract import extract_ct
from sparra.radiology.geometry import Grid
from sparra.radiology.radiomics.region import REGION_IBSI_IDS, UNINFORMATIVE, RadiomicsSettings, region_features
from sparra.radiology.settings import CtSettings


def settings(**options: object) -> CtSettings:
    return CtSettings.from_mapping(
        {"spacing_mm": 1.0, "encoder": "radiomics", "encoder_options": options}, "study.yaml"
    )


def test_one_row_in_the_middle_of_the_tumour(
    write_pair: Callable, oblique_grid: Grid, block_mask: NDArray[np.uint8]
) -> None:
    rng = np.random.default_rng(2)
    hu = np.rint(rng.normal(40, 40, block_mask.shape)).astype(np.int16)
    pair = write_pair(hu, block_mask, oblique_grid)
    bag, preview = extract_ct(pair.image, pair.mask, 1, settings())
    card = ct_encoders["radiomics"].card
    assert bag.features.shape == (1, card.dimension) == (1, len(bag.feature_names))
    # The block's centre: voxels 10 to 29, 8 to 27 and 4 to 9.
    np.testing.assert_allclose(bag.positions[0], oblique_grid.to_mm([19.5, 17.5, 6.5]), atol=0.51)
    np.testing.assert_allclose(bag.patch_size, (16, 18, 18), atol=1.01)
    found = dict(zip(bag.feature_names, bag.features[0], strict=True))
    assert found["morph_vol_approx"] == pytest.approx(16 * 18 * 18, rel=0.07)
    expected = region_features(
        preview.pixels.astype(float), preview.mask, (1, 1, 1), RadiomicsSettings(intensity_range=(-200, 300))
    )
    for name, value in found.items():
        assert value == pytest.approx(expected[name], rel=1e-5), name
    assert not UNINFORMATIVE & set(bag.feature_names)


def test_shape_needs_the_mask_alone(write_pair: Callable, oblique_grid: Grid, block_mask: NDArray[np.uint8]) -> None:
    """A mask may then stand in for the CT."""
    pair = write_pair(block_mask, block_mask, oblique_grid)
    bag, _ = extract_ct(pair.mask, pair.mask, 1, settings(families=["shape"]))
    assert bag.feature_names == tuple(REGION_IBSI_IDS["shape"])


def test_undefined_features_are_named(write_pair: Callable, oblique_grid: Grid, block_mask: NDArray[np.uint8]) -> None:
    pair = write_pair(np.full(block_mask.shape, 500, np.int16), block_mask, oblique_grid)
    with pytest.raises(UserError, match="no voxel of the region is left"):
        extract_ct(pair.image, pair.mask, 1, settings())
