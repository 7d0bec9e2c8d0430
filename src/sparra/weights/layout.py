"""How a published checkpoint names its tensors, and the strict check of what it holds."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor

from sparra.errors import UserError

State = dict[str, Tensor]
_SHOWN = 3
#: What training leaves before every name. Another prefix may be that of a part of another model.
_WRAPPERS = re.compile(r"((module|model|backbone|visual|_orig_mod|teacher|student)\.)+")


@dataclass(frozen=True)
class Layout:
    """The way from a published file to the names of a network here.

    Attributes
    ----------
    containers : tuple of str
        Keys to step into, one after the other, where the file has them (``state_dict``, ``teacher``).
    wrappers : tuple of str
        Prefixes that training left on names (``module.``); taken off, in this order, where they stand.
    scope : str
        Prefix of the encoder's own tensors (``model.encoder.``): taken off, and tensors without it, of other
        parts of the model, are left out. A file in which no name has it holds the encoder alone.
    ignored : tuple of str
        Regular expressions of whole names, after the prefixes, that the file may hold and the encoder does
        not need: heads of the pre-training, tables that are computed.
    convert : callable or None
        From the remaining names to those of the network.
    """

    containers: tuple[str, ...] = ()
    wrappers: tuple[str, ...] = ()
    scope: str = ""
    ignored: tuple[str, ...] = ()
    convert: Callable[[State], State] | None = None

    def tensors_in(self, content: Any, where: str) -> State:
        """Return the encoder's tensors under the network's names.

        Raises
        ------
        UserError
            If the content is no mapping of names to tensors, or holds them in other tables than the published file.
        """
        for container in self.containers:
            if isinstance(content, Mapping) and isinstance(content.get(container), Mapping):
                content = content[container]
        if not isinstance(content, Mapping):
            raise UserError("this file holds no table of named tensors", where, "Give the published checkpoint")
        state = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
        if not state:
            self._refuse_other_tables(content, where)
        for wrapper in self.wrappers:
            state = {name.removeprefix(wrapper): value for name, value in state.items()}
        if any(name.startswith(self.scope) for name in state):
            state = {n.removeprefix(self.scope): value for n, value in state.items() if n.startswith(self.scope)}
        unneeded = [re.compile(pattern) for pattern in self.ignored]
        state = {name: v for name, v in state.items() if not any(p.fullmatch(name) for p in unneeded)}
        return self.convert(state) if self.convert else state

    def _refuse_other_tables(self, content: Mapping[Any, Any], where: str) -> None:
        """Say under which keys the tensors lie, where they lie under others than the published file's."""
        tables = [
            f"'{key}'"
            for key, value in content.items()
            if isinstance(value, Mapping) and any(isinstance(tensor, Tensor) for tensor in value.values())
        ]
        if tables:
            published = f"under '{self.containers[-1]}'" if self.containers else "by themselves"
            what = f"its tensors lie under {' and '.join(tables[:_SHOWN])}; in the published file they lie {published}"
            raise UserError(what, where, "Give the published file, or save the right table alone")


def check_state(expected: Mapping[str, torch.Size], state: Mapping[str, Tensor], what: str, where: str) -> None:
    """Check that `state` holds just the expected tensors in just their shapes.

    Parameters
    ----------
    expected : mapping of str to torch.Size
    state : mapping of str to Tensor
    what : str
        The network's name, for the sentence.
    where : str
        The file.

    Raises
    ------
    UserError
        Naming the keys that are renamed, missing, unexpected or of another shape.
    """
    missing = [name for name in expected if name not in state]
    unexpected = [name for name in state if name not in expected]
    shapes = [name for name in expected if name in state and state[name].shape != expected[name]]
    prefix = _prefix(expected, state, missing)
    if prefix is not None:
        raise UserError(
            f"the names in these weights of '{what}' begin with '{prefix}', those in the published file do not",
            where,
            f"Give the published file of '{what}' (sparra encoders describe {what}), or save it without '{prefix}'",
        )
    complaints = [
        *_renamed(expected, state, missing, unexpected),
        *_listed("it lacks", missing),
        *_listed("it holds the unknown", unexpected),
        *_listed("of another shape:", [_shape_of(name, state[name].shape, expected[name]) for name in shapes]),
    ]
    if complaints:
        mend = f"Give the published file of '{what}' (sparra encoders describe {what}), not that of another model"
        raise UserError(f"these are not the weights of '{what}': {'; '.join(complaints)}", where, mend)


def _prefix(expected: Mapping[str, torch.Size], state: Mapping[str, Tensor], missing: list[str]) -> str | None:
    """Return what stands before every expected name, as a training script leaves it; None if nothing does."""
    if not missing or len(missing) < len(expected):
        return None
    for name in state:
        prefix = name.removesuffix(missing[0])
        if not _WRAPPERS.fullmatch(prefix):
            continue
        named = {other: state.get(prefix + other) for other in missing}
        if all(found is not None and found.shape == expected[other] for other, found in named.items()):
            return prefix
    return None


def _renamed(
    expected: Mapping[str, torch.Size], state: Mapping[str, Tensor], missing: list[str], unexpected: list[str]
) -> list[str]:
    """Pair each missing name with a like unknown one of its shape, taking both from their lists."""
    pairs = []
    # Of a wholly different model nothing is "renamed"; a few pairs are enough to see a rule.
    for name in missing[:_SHOWN]:
        alike = [other for other in unexpected if state[other].shape == expected[name]]
        near = get_close_matches(name, alike, n=1, cutoff=0.8)
        if near:
            pairs.append(f"'{near[0]}' should be '{name}'")
            missing.remove(name)
            unexpected.remove(near[0])
    return pairs


def _listed(words: str, names: list[str]) -> list[str]:
    if not names:
        return []
    shown = ", ".join(name if "'" in name else f"'{name}'" for name in names[:_SHOWN])
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return [f"{words} {shown}{more}"]


def _shape_of(name: str, found: torch.Size, expected: torch.Size) -> str:
    return f"'{name}' has {tuple(found)}, not {tuple(expected)}"
