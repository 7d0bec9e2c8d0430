import pytest

from sparra.errors import UserError
from sparra.settings import Settings


class Inner(Settings):
    spacing_mm: float = 1.0


class Outer(Settings):
    ct: Inner = Inner()
    epochs: int = 20
    name: str


def test_unknown_keys_are_answered_with_the_nearest_valid_one_at_any_depth() -> None:
    with pytest.raises(UserError) as caught:
        Outer.from_mapping({"epohcs": 3, "ct": {"spacing": 1}, "name": "x"}, "study.yaml")
    told = str(caught.value)
    assert "unknown key 'epohcs'. Did you mean 'epochs'?" in told
    assert "unknown key 'ct.spacing'. Did you mean 'spacing_mm'?" in told


def test_missing_keys_and_bad_values_are_all_told_at_once() -> None:
    with pytest.raises(UserError) as caught:
        Outer.from_mapping({"epochs": "many"}, "study.yaml")
    told = str(caught.value)
    assert told.startswith("study.yaml: ")
    assert "key 'name' is missing" in told
    assert "key 'epochs' is 'many'" in told


def test_valid_settings_are_immutable() -> None:
    settings = Outer.from_mapping({"name": "x", "ct": {"spacing_mm": 2}}, "study.yaml")
    assert settings.ct.spacing_mm == 2.0
    with pytest.raises(ValueError, match="frozen"):
        settings.epochs = 3  # type: ignore[misc]
