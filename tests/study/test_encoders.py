import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from sparra.pathology.encoders import slide_encoders
from sparra.radiology.encoders import ct_encoders
from sparra.study.encoders import encoder_cards, weights_problems
from sparra.study.settings import read_study

from .conftest import Sparra


def test_every_card_is_whole() -> None:
    cards = encoder_cards()
    assert len(cards) == len(list(ct_encoders)) + len(list(slide_encoders))
    for card in cards:
        assert card.dimension > 0
        assert all((card.input_description, card.resolution, card.licence, card.pretraining, card.reference))
        assert bool(card.files) == (card.weights != "none")
        if card.files:
            assert card.gated == any(file.gated for file in card.files)
            assert card.weights_sha256 == card.files[0].sha256
            assert card.input_size
            assert card.parameters_millions
        if card.files and card.modality == "slide":
            assert card.trained_at
            assert card.tile_px


def test_what_saw_public_cohorts_says_so() -> None:
    warned = {card.name for card in encoder_cards() if card.overlap}
    assert {"hipt", "hipt-4k", "chief", "chief-slide", "phikon-v2", "segvol"} <= warned
    assert not {"uni", "conch", "local"} & warned


def test_the_list_shows_what_one_must_know(sparra: Sparra) -> None:
    code, text = sparra("encoders")
    assert code == 0
    for card in encoder_cards():
        assert card.name in text
    for part in ("gated", "not published", "WARNING", "CC-BY-NC-ND-4.0", "1024 features", "0.5 µm a pixel"):
        assert part in text


def test_one_encoder_in_full_and_for_other_programs(sparra: Sparra) -> None:
    code, text = sparra("encoders", "describe", "segvol")
    assert code == 0
    for part in ("32 x 256 x 256", "ViT_pretrain.ckpt", "KiTS23", "tokens", "how to get", "SPARRA_WEIGHTS"):
        assert part in text
    code, text = sparra("encoders", "describe", "hipt", "--json")
    (card,) = json.loads(text)
    assert card["dimension"] == 384
    assert card["files"][0]["sha256"].startswith("6960cd5a")
    assert card["options"]["weights"] is None
    code, text = sparra("encoders", "--json")
    assert {card["name"] for card in json.loads(text)} == {card.name for card in encoder_cards()}
    code, text = sparra("encoders", "describe", "segvoll")
    assert code == 2
    assert "Did you mean 'segvol'" in text


def test_weights_that_a_study_lacks_are_told_and_those_of_the_hub_are_not_sought(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SPARRA_WEIGHTS", raising=False)
    slide: dict[str, object] = {"encoder": "uni", "encoder_options": {"weights": "hub"}}
    ct = {"encoder": "segvol", "encoder_options": {"weights": "none.ckpt"}}
    content = {"cohort": {"subjects": "s.csv", "images": "i.csv", "time_unit": "days"}, "ct": ct, "slide": slide}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(content))
    settings = read_study(tmp_path / "study.yaml")
    images: list[Any] = [
        SimpleNamespace(modality="slide", path=tmp_path / "a.svs"),
        SimpleNamespace(modality="ct", path=tmp_path / "a.nii.gz"),
    ]
    slides_lack, ct_lacks = (
        [str(problem) for problem in weights_problems(settings, chosen)] for chosen in (images[:1], images[1:])
    )
    assert slides_lack == []
    assert len(ct_lacks) == 1
    assert str(tmp_path / "none.ckpt") in ct_lacks[0]  # relative to the study file
    bag: Any = SimpleNamespace(modality="slide", path=tmp_path / "bag.h5")
    assert weights_problems(settings, [bag]) == []


def test_a_file_of_weights_that_is_lacking_is_told_with_its_own_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SPARRA_WEIGHTS", raising=False)
    slide = {"encoder": "hipt-4k", "tile_um": 2048, "batch_size": 1, "encoder_options": {"region_weights": "hub"}}
    content = {"cohort": {"subjects": "s.csv", "images": "i.csv", "time_unit": "days"}, "slide": slide}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(content))
    image: Any = SimpleNamespace(modality="slide", path=tmp_path / "a.svs")
    tiles, regions = map(str, weights_problems(read_study(tmp_path / "study.yaml"), [image]))
    assert "weights of 'hipt' are not on this machine" in tiles
    assert "set 'weights' in encoder_options to the file 'vit256_small_dino.pth'" in tiles
    assert "weights of 'hipt-4k' are not on the Hugging Face Hub" in regions
    assert "set 'region_weights' in encoder_options to the file 'vit4k_xs_dino.pth'" in regions


def test_every_file_of_weights_names_an_option_of_its_encoder() -> None:
    for card in encoder_cards():
        options = slide_encoders[card.name].options if card.modality == "slide" else ct_encoders[card.name].settings
        assert len({file.option for file in card.files}) == len(card.files)
        assert {file.option for file in card.files} <= set(options.model_fields)


@pytest.mark.parametrize(
    ("section", "values", "part"),
    [
        ("slide", {"encoder": "uni", "mpp": 0.25}, "not trained at 0.25"),
        ("slide", {"encoder": "uni", "encoder_options": {"weigths": "a"}}, "Did you mean 'weights'"),
        ("slide", {"encoder": "hipt-4k", "tile_um": 2048}, "batch_size: 1"),
        ("slide", {"encoder": "h-optimus-1"}, "'tile_um' to 112"),
        ("ct", {"encoder": "segvol", "encoder_options": {"tokens": "all"}}, "encoder_options"),
    ],
)
def test_settings_that_do_not_fit_an_encoder_are_refused_at_once(
    section: str,
    values: dict[str, object],
    part: str,
    tmp_path: Path,
    sparra: Sparra,
) -> None:
    content = {"cohort": {"subjects": "s.csv", "images": "i.csv", "time_unit": "days"}, section: values}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(content))
    code, text = sparra("check", tmp_path / "study.yaml")
    assert code == 2
    assert part in text
