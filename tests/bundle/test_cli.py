import pytest

from sparra.bundle import cli
from sparra.errors import UserError


@pytest.mark.parametrize("value", ["[", "'a", "2026-13-45", "&a [*a, *b]"])
def test_an_option_that_is_no_yaml_is_refused_in_a_sentence(value: str) -> None:
    assert cli._options(["slide.weights=a.pt", "ct.n=3"]) == {"ct": {"n": 3}, "slide": {"weights": "a.pt"}}
    with pytest.raises(UserError, match="not valid YAML"):
        cli._options([f"slide.weights={value}"])


@pytest.mark.parametrize("folder", ["[old]", "[/x]", "[red]"])
def test_a_folder_whose_name_looks_like_markup_is_printed_as_it_is(
    folder: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Made anew, so that it writes where the test reads.
    monkeypatch.setattr(cli, "console", type(cli.console)(highlight=False, width=160))
    cli._say(f"bundle: {folder}/kidney")
    assert capsys.readouterr().out == f"bundle: {folder}/kidney\n"
