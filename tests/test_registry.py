from importlib.metadata import EntryPoint

import pytest

from sparra.errors import UserError
from sparra.registry import Registry


def test_a_name_is_found_listed_and_taken_once() -> None:
    registry: Registry[int] = Registry("number", "sparra.tests_none")
    registry.register("two")(2)
    registry.register("one")(1)
    assert registry["two"] == 2
    assert registry.names() == ["one", "two"] == list(registry)
    assert "one" in registry
    with pytest.raises(ValueError, match="registered twice"):
        registry.register("one")(3)


@pytest.mark.parametrize(
    ("value", "reason"), [("sparra_no_such_package:thing", "ModuleNotFoundError"), ("sparra.files:sha256_of", "twice")]
)
def test_a_broken_plugin_is_one_sentence(monkeypatch: pytest.MonkeyPatch, value: str, reason: str) -> None:
    registry: Registry[int] = Registry("number", "sparra.tests_none")
    registry.register("one")(1)
    plugin = EntryPoint("one" if reason == "twice" else "two", value, "sparra.tests_none")
    monkeypatch.setattr("sparra.registry.entry_points", lambda group: [plugin])
    with pytest.raises(UserError, match=f"of another package cannot be loaded .*{reason}"):
        registry["one"]


def test_a_mistyped_name_is_answered_with_the_nearest() -> None:
    registry: Registry[int] = Registry("number", "sparra.tests_none")
    registry.register("seventeen")(17)
    with pytest.raises(UserError, match=r"no number called 'sevnteen'. Did you mean 'seventeen'\?"):
        registry["sevnteen"]
    with pytest.raises(UserError, match="Valid names are: seventeen"):
        registry["x"]
