import pytest

from sparra.errors import UserError
from sparra.survival.models import survival_models
from sparra.survival.settings import EvaluationSettings


def test_the_papers_models_are_the_default_and_registered():
    names = EvaluationSettings().survival_models
    assert names == ("RSF", "CoxPH", "Coxnet", "FSVM")
    assert set(names) <= set(survival_models.names())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"survival_models": ["CoxHP"]}, "Did you mean 'CoxPH'"),
        ({"survival_models": ["RSF", "RSF"]}, "named twice"),
        ({"cuts": "mean"}, "Did you mean 'cut'"),
        ({"cut": "best"}, "'median' or 'mean'"),
        ({"folds": 1}, "greater than or equal to 2"),
        ({"screening_p": 0}, "greater than 0"),
        ({"horizon": -1}, "greater than 0"),
        ({"screening_adjustment": "benjamini-hochberg"}, "no effect without 'screening_p'"),
    ],
)
def test_mistakes_are_told(values, message):
    with pytest.raises(UserError, match=message):
        EvaluationSettings.from_mapping(values, "study.yaml")
