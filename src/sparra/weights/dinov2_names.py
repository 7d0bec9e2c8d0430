"""From the names of a transformer in Hugging Face's Dinov2 layout to those used here."""

import re

import torch

from sparra.weights.layout import State

_RENAMED = (
    (r"embeddings\.cls_token", "cls_token"),
    (r"embeddings\.position_embeddings", "pos_embed"),
    (r"embeddings\.patch_embeddings\.projection\.(.+)", r"patch_embed.proj.\1"),
    (r"encoder\.layer\.(\d+)\.(norm[12]\..+|mlp\.fc[12]\..+)", r"blocks.\1.\2"),
    (r"encoder\.layer\.(\d+)\.attention\.output\.dense\.(.+)", r"blocks.\1.attn.proj.\2"),
    (r"encoder\.layer\.(\d+)\.layer_scale([12])\.lambda1", r"blocks.\1.ls\2.gamma"),
    (r"layernorm\.(.+)", r"norm.\1"),
)
_PARTS = re.compile(r"encoder\.layer\.(\d+)\.attention\.attention\.(query|key|value)\.(weight|bias)")


def from_dinov2(state: State) -> State:
    """Rename a Dinov2 model's tensors and join queries, keys and values to one matrix.

    Names that fit no rule stay as they are, so that the check of names finds them.
    """
    renamed: State = {}
    parts: dict[tuple[str, str], dict[str, torch.Tensor]] = {}
    for name, tensor in state.items():
        if match := _PARTS.fullmatch(name):
            parts.setdefault((match[1], match[3]), {})[match[2]] = tensor
        else:
            renamed[_rename(name)] = tensor
    for (layer, kind), found in parts.items():
        if len(found) == 3:
            renamed[f"blocks.{layer}.attn.qkv.{kind}"] = torch.cat([found[n] for n in ("query", "key", "value")])
        else:
            renamed |= {f"encoder.layer.{layer}.attention.attention.{n}.{kind}": t for n, t in found.items()}
    return renamed


def _rename(name: str) -> str:
    for pattern, new in _RENAMED:
        if re.fullmatch(pattern, name):
            return re.sub(pattern, new, name)
    return name
