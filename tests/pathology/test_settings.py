import pytest

from sparra.errors import UserError
from sparra.pathology.settings import SlideSettings


def test_tile_of_128_um_at_half_a_micrometre_has_256_pixels() -> None:
    assert SlideSettings().tile_px == 256
    assert SlideSettings(overlap_um=28).step_um == 100


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"tile_umm": 3}, "Did you mean 'tile_um'?"),
        ({"tile_um": 64, "overlap_um": 64}, "must be smaller than tile_um"),
        ({"tile_um": 16, "mpp": 2}, "below 16 pixels"),
        ({"minimum_tissue": 0}, "minimum_tissue"),
    ],
)
def test_wrong_settings_are_told_in_one_sentence(values: dict, words: str) -> None:
    with pytest.raises(UserError) as caught:
        SlideSettings.from_mapping(values, "study.yaml")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
