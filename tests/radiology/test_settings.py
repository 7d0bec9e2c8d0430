import pytest

from sparra.errors import UserError
from sparra.radiology.settings import CtSettings


def test_lengths_become_whole_voxels() -> None:
    settings = CtSettings(spacing_mm=2.0, patch_mm=9.1, stride_mm=4.2)
    assert (settings.patch_voxels, settings.stride_voxels) == (5, 2)


def test_encoder_options_are_filled_in_and_survive_a_round_trip() -> None:
    settings = CtSettings.from_mapping({"encoder_options": {"bin_width_hu": 10}}, where="study.yaml")
    assert settings.encoder_options == {
        "bin_width_hu": 10.0,
        "hu_range": [-200.0, 300.0],
        "masked": True,
        "families": ["firstorder", "glcm", "glrlm", "glszm", "ngtdm", "gldm"],
        "aggregation": "3d_merged",
    }
    assert CtSettings.from_mapping(settings.model_dump(mode="json"), where="again") == settings


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"spacing": 1}, "Did you mean 'spacing_mm'?"),
        ({"encoder": "locl"}, "Did you mean 'local'?"),
        ({"encoder_options": {"bin_widht_hu": 10}}, "Did you mean 'bin_width_hu'?"),
        ({"encoder_options": {"bin_width_hu": 0.1}}, "5000 grey levels"),
        ({"encoder_options": {"hu_range": [100, 0]}}, "hu_range must rise"),
        ({"patch_mm": 1.1}, "less than 2 voxels"),
        ({"stride_mm": 20}, "tumour is left out between patches"),
        ({"stride_mm": 0.2}, "stride_mm 0.2 must lie between"),
        ({"label": 0}, "greater than 0"),
        ({"label": []}, "at least 1"),
        ({"component": "biggest"}, "'largest' or 'all'"),
        ({"minimum_tumour_fraction": 1.5}, "less than or equal to 1"),
    ],
)
def test_bad_values_are_told(values: dict, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        CtSettings.from_mapping(values, where="study.yaml")
    assert sentence in str(caught.value)
