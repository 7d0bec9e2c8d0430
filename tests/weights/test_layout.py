import pytest
import torch

from sparra.errors import UserError
from sparra.weights.layout import Layout, check_state

EXPECTED = {f"blocks.{i}.{part}": torch.Size(shape) for i in range(3) for part, shape in (("w", (4, 4)), ("b", (4,)))}


def state() -> dict[str, torch.Tensor]:
    return {name: torch.zeros(shape) for name, shape in EXPECTED.items()}


def complaint(found: dict[str, torch.Tensor]) -> str:
    with pytest.raises(UserError) as error:
        check_state(EXPECTED, found, "net", "file.pth")
    assert "\n" not in str(error.value)
    assert "sparra encoders describe net" in str(error.value)
    return str(error.value)


def test_the_right_state_passes() -> None:
    check_state(EXPECTED, state(), "net", "file.pth")


def test_a_missing_key_is_named() -> None:
    found = state()
    del found["blocks.1.w"]
    assert "it lacks 'blocks.1.w'" in complaint(found)


def test_an_unknown_key_is_named() -> None:
    assert "it holds the unknown 'extra.gate'" in complaint(state() | {"extra.gate": torch.zeros(9)})


def test_a_misshaped_key_is_named_with_both_shapes() -> None:
    text = complaint(state() | {"blocks.2.w": torch.zeros(4, 5)})
    assert "'blocks.2.w' has (4, 5), not (4, 4)" in text


def test_a_renamed_key_is_recognised() -> None:
    found = state()
    found["blocks.0.ww"] = found.pop("blocks.0.w")
    text = complaint(found)
    assert "'blocks.0.ww' should be 'blocks.0.w'" in text
    assert "lacks" not in text


@pytest.mark.parametrize("prefix", ["module.", "model.", "module.backbone."])
def test_a_prefix_of_all_names_is_told_as_one(prefix: str) -> None:
    text = complaint({prefix + name: tensor for name, tensor in state().items()} | {"epoch": torch.zeros(1)})
    assert f"weights of 'net' begin with '{prefix}'" in text
    assert "lacks" not in text


def test_a_prefix_of_another_model_is_not_told() -> None:
    assert "it lacks" in complaint({f"trunk.{name}": torch.zeros(2) for name in EXPECTED})


@pytest.mark.parametrize(
    ("containers", "content", "sentence"),
    [
        ((), {"state_dict": state(), "epoch": 3}, "lie under 'state_dict'; in the published file they lie by them"),
        (("teacher",), {"student": state()}, "lie under 'student'; in the published file they lie under 'teacher'"),
        ((), {"student": state(), "teacher": state()}, "lie under 'student' and 'teacher'"),
    ],
)
def test_tensors_in_another_table_are_told(
    containers: tuple[str, ...], content: dict[str, object], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        Layout(containers).tensors_in(content, "file.pth")


def test_another_model_is_not_listed_at_length() -> None:
    text = complaint({f"layer{i}.kernel": torch.zeros(1) for i in range(500)})
    assert "and 3 more" in text
    assert "and 497 more" in text
    assert len(text) < 600


def test_containers_wrappers_and_scope_are_taken_off() -> None:
    layout = Layout(("state_dict",), ("module.", "backbone."), "encoder.", (r"head\..+",))
    w = torch.ones(1)
    content = {"state_dict": {"module.backbone.encoder.a": w, "module.decoder.b": w, "module.encoder.head.c": w}}
    assert set(layout.tensors_in(content, "f")) == {"a"}
    assert set(layout.tensors_in({"a": w, "head.c": w, "epoch": 3}, "f")) == {"a"}
    with pytest.raises(UserError, match="no table of named tensors"):
        layout.tensors_in(torch.ones(2), "f")
