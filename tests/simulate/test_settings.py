import pytest

from sparra.errors import UserError
from sparra.simulate.settings import SimulationSettings


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"missing_ct": 0.6, "missing_slide": 0.5}, "missing_slide"),
        ({"censoring": 1.0}, "censoring"),
        ({"subjects": 0}, "subjects"),
        ({"slide_mpp": 0.1, "slide_um": 2048.0}, "819.2 or less"),
        ({"nuisanse": 1.0}, "Did you mean 'nuisance'"),
    ],
)
def test_impossible_settings_are_refused_by_name(values, words):
    with pytest.raises(UserError, match=words):
        SimulationSettings.from_mapping(values, where="study.yaml")


def test_half_may_lack_either_modality():
    assert SimulationSettings(missing_ct=0.5, missing_slide=0.5).missing_slide == 0.5
