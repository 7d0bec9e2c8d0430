import pytest

from sparra.errors import UserError
from sparra.graphs.settings import STANDARDISED_FEATURE_RATE, GraphSettings, default_graph_settings


def test_published_slide_values_are_micrometres_at_half_a_micrometre_a_pixel() -> None:
    used = GraphSettings(feature_metric="raw").resolved("slide", pitch=999.0)
    mpp = 0.5
    assert used.distance_rate == pytest.approx(3e-3 / mpp)
    assert used.search_radius == pytest.approx(2000 * mpp)
    assert used.connectivity == pytest.approx(4000 * mpp)
    assert (used.feature_rate, used.cut) == (1e-3, 0.8)


def test_published_ct_values_are_multiples_of_the_pitch() -> None:
    used = default_graph_settings("ct").model_copy(update={"feature_metric": "raw"}).resolved("ct", pitch=1.024)
    assert used.distance_rate == pytest.approx(0.2 / 1.024)
    assert used.search_radius == pytest.approx(4 * 1.024)
    assert used.connectivity == pytest.approx(8 * 1.024)
    assert used.feature_rate == 0.1


@pytest.mark.parametrize("modality", ["ct", "slide"])
def test_defaults_are_the_same_written_out_or_left_out(modality: str) -> None:
    written = default_graph_settings(modality).resolved(modality, 7.0)  # type: ignore[arg-type]
    assert written == GraphSettings().resolved(modality, 7.0)  # type: ignore[arg-type]
    assert written.feature_rate == STANDARDISED_FEATURE_RATE[modality]  # type: ignore[index]


def test_connectivity_reaches_two_pitches_unless_given() -> None:
    """HIPT's regions of 4096 px at 20x lie 2 mm apart: the published 2000 µm would join none of them."""
    assert default_graph_settings("slide").resolved("slide", pitch=2048.0).connectivity == 4096
    assert default_graph_settings("slide").resolved("slide", pitch=1000.0).connectivity == 2000
    assert GraphSettings(connectivity=2000).resolved("slide", pitch=2048.0).connectivity == 2000


def test_what_is_given_is_kept() -> None:
    given = {"distance_rate": 0.0, "feature_rate": 0.0, "search_radius": 5.0, "connectivity": 6.0}
    used = GraphSettings(**given).resolved("ct", pitch=3.0)  # type: ignore[arg-type]
    assert {name: getattr(used, name) for name in given} == given


@pytest.mark.parametrize(
    "wrong", [{"cut": 1.0}, {"cut": 0}, {"search_radius": -1}, {"neighbours": 0}, {"memory_gb": 0}, {"radius": 2}]
)
def test_impossible_values_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UserError, match=next(iter(wrong))):
        GraphSettings.from_mapping(wrong, "study.yaml")
