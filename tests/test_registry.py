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


def test_a_mistyped_name_is_answered_with_the_nearest() -> None:
    registry: Registry[int] = Registry("number", "sparra.tests_none")
    registry.register("seventeen")(17)
    with pytest.raises(UserError, match=r"no number called 'sevnteen'. Did you mean 'seventeen'\?"):
        registry["sevnteen"]
    with pytest.raises(UserError, match="Valid names are: seventeen"):
        registry["x"]
