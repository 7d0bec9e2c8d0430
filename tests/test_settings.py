import pytest
from pydantic import Field, model_validator

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


class Whole(Settings):
    options: dict[str, int] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _known(self) -> "Whole":
        if self.options:
            raise ValueError("options: unknown key 'a'. There is none to give.")
        return self


class Above(Settings):
    part: Whole = Whole()


def test_what_a_whole_section_is_blamed_for_is_told_without_the_section() -> None:
    for kind, values, said in (
        (Whole, {"options": {"a": 1}}, "options: unknown key 'a'. There is none to give."),
        (Above, {"part": {"options": {"a": 1}}}, "part: options: unknown key 'a'. There is none to give."),
    ):
        with pytest.raises(UserError) as caught:
            kind.from_mapping(values, "study.yaml")
        assert str(caught.value) == f"study.yaml: {said}"


def test_valid_settings_are_immutable() -> None:
    settings = Outer.from_mapping({"name": "x", "ct": {"spacing_mm": 2}}, "study.yaml")
    assert settings.ct.spacing_mm == 2.0
    with pytest.raises(ValueError, match="frozen"):
        settings.epochs = 3  # type: ignore[misc]


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_numbers_are_finite(value: float) -> None:
    with pytest.raises(UserError, match=r"key 'ct.spacing_mm' is (inf|nan)"):
        Outer.from_mapping({"name": "x", "ct": {"spacing_mm": value}}, "study.yaml")
