"""Which features a protocol screens, and that null is not the same as nothing said where the protocol screens."""

from typing import Any

import numpy as np
import pytest

from sparra.study import judge, rules
from sparra.study.learn import Method
from sparra.study.settings import StudySettings
from sparra.survival.outcomes import FollowUp
from sparra.survival.screening import univariate_cox
from sparra.survival.time_grid import declare_time_grid

TIME, EVENT = np.linspace(10, 2000, 60), np.arange(60) % 2 == 0
GRID = declare_time_grid(TIME, EVENT, None, [np.arange(60)])
NULL, NOTHING = {"screening_p": None}, dict[str, Any]()


def study(protocol: str, evaluation: dict[str, Any]) -> StudySettings:
    cohort = {"subjects": "s.csv", "images": "i.csv", "time_unit": "days"}
    content = {"cohort": cohort, "output": "output", "protocol": protocol, "evaluation": evaluation}
    return StudySettings.from_mapping(content, "study.yaml")


@pytest.mark.parametrize(
    ("protocol", "evaluation", "of_mean", "of_sparra"),
    [
        ("paper", NOTHING, 0.2, None),
        ("paper", NULL, None, None),
        ("paper", {"screening_p": 0.1}, 0.1, 0.1),
        ("sound", NOTHING, None, None),
        ("sound", NULL, None, None),
        ("sound", {"screening_p": 0.1}, 0.1, 0.1),
    ],
)
def test_the_threshold_that_a_fit_is_given(
    monkeypatch: pytest.MonkeyPatch,
    protocol: str,
    evaluation: dict[str, Any],
    of_mean: float | None,
    of_sparra: float | None,
) -> None:
    given: list[float | None] = []
    for name in ("fit_paper_model", "fit_survival_model"):
        monkeypatch.setattr(rules, name, lambda *_args, screening_p, **_further: given.append(screening_p))
    settings = study(protocol, evaluation)
    # As a study finds them again in its settings.json.
    again = study(protocol, {"screening_p": settings.model_dump(mode="json")["evaluation"]["screening_p"]})
    for one in (settings, again) if evaluation else (settings,):
        for aggregator in ("mean", "sparra"):
            fold = Method("slide", aggregator, 0)
            rules.rules_of(one, GRID).fit("CoxPH", np.zeros((60, 3)), FollowUp(TIME, EVENT), fold)
    assert given == [of_mean, of_sparra] * (2 if evaluation else 1)


def test_what_was_said_of_screening_is_saved() -> None:
    saved = [study("paper", said).model_dump(mode="json")["evaluation"]["screening_p"] for said in (NOTHING, NULL)]
    assert saved == [None, "none"]


def test_results_are_made_anew_only_where_null_means_something_else() -> None:
    def key(protocol: str, evaluation: dict[str, Any]) -> dict[str, Any]:
        return judge._parameters(study(protocol, evaluation), Method("slide", "mean", 0), GRID)

    assert key("sound", NULL) == key("sound", NOTHING)
    assert key("sound", NOTHING)["evaluation"]["screening_p"] is None
    assert key("paper", NOTHING)["evaluation"]["screening_p"] is None
    assert key("paper", NULL) != key("paper", NOTHING)


def test_the_false_discovery_rate_is_bounded_where_the_study_says_so() -> None:
    rng = np.random.default_rng(0)
    features, fold = rng.normal(size=(60, 40)), Method("slide", "mean", 0)
    features[:, 3] -= TIME / 300
    plain, bounded = (
        study("sound", {"screening_p": 0.2, "inner_folds": 2, "screening_adjustment": adjustment})
        for adjustment in ("none", "benjamini-hochberg")
    )
    kept = [
        rules.rules_of(one, GRID).fit("CoxPH", features, FollowUp(TIME, EVENT), fold).preparation.kept
        for one in (plain, bounded)
    ]
    expected = univariate_cox(features, FollowUp(TIME, EVENT))
    np.testing.assert_array_equal(kept[0], np.flatnonzero(expected.p < 0.2))
    np.testing.assert_array_equal(kept[1], np.flatnonzero(expected.selected(0.2, "benjamini-hochberg")))
    assert len(kept[1]) < len(kept[0])
    parameters = [judge._parameters(one, fold, GRID)["evaluation"] for one in (plain, bounded)]
    assert "screening_adjustment" not in parameters[0]
    assert parameters[1]["screening_adjustment"] == "benjamini-hochberg"
