"""What the published checkpoints hold: names and shapes by rule, nested as in the files.

Written from the publishers' code and model cards, not from the networks here. Tensors are on the meta device, so
that full sizes cost nothing.
"""

from typing import Any

import torch
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]


def linear(name: str, out: int, into: int, bias: bool = True) -> Shapes:
    return {f"{name}.weight": (out, into)} | ({f"{name}.bias": (out,)} if bias else {})


def norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def batch_norm(name: str, width: int) -> Shapes:
    statistics = {f"{name}.running_mean": (width,), f"{name}.running_var": (width,)}
    return norm(name, width) | statistics | {f"{name}.num_batches_tracked": ()}


def prefixed(prefix: str, shapes: Shapes) -> Shapes:
    return {prefix + name: shape for name, shape in shapes.items()}


def timm_vit(
    width: int,
    depth: int,
    patch: int,
    positions: int,
    hidden: tuple[int, int],
    registers: int = 0,
    scaled: bool = True,
) -> Shapes:
    """timm's VisionTransformer without classifier; `hidden` is (rows of fc1, columns of fc2)."""
    shapes: Shapes = {"cls_token": (1, 1, width), "pos_embed": (1, positions, width)}
    if registers:
        shapes["reg_token"] = (1, registers, width)
    shapes |= {"patch_embed.proj.weight": (width, 3, patch, patch), "patch_embed.proj.bias": (width,)}
    for i in range(depth):
        block = norm("norm1", width) | linear("attn.qkv", 3 * width, width) | linear("attn.proj", width, width)
        block |= norm("norm2", width) | linear("mlp.fc1", hidden[0], width) | linear("mlp.fc2", width, hidden[1])
        if scaled:
            block |= {"ls1.gamma": (width,), "ls2.gamma": (width,)}
        shapes |= prefixed(f"blocks.{i}.", block)
    return shapes | norm("norm", width)


def dino_head(width: int) -> Shapes:
    layers = linear("mlp.0", 2048, width) | linear("mlp.2", 2048, 2048) | linear("mlp.4", 256, 2048)
    last: Shapes = {"last_layer.weight_g": (65536, 1), "last_layer.weight_v": (65536, 256)}
    return prefixed("head.", layers | last)


def hipt(regions: bool) -> Shapes:
    if not regions:
        return timm_vit(384, 12, 16, 197, (1536, 1536), scaled=False)
    shapes = timm_vit(192, 6, 16, 197, (768, 768), scaled=False)
    del shapes["patch_embed.proj.weight"], shapes["patch_embed.proj.bias"]
    return shapes | linear("phi.0", 192, 384)


def dinov2() -> Shapes:
    """Hugging Face's Dinov2Model, ViT-L/16 at 224 pixels."""
    shapes: Shapes = {
        "embeddings.cls_token": (1, 1, 1024),
        "embeddings.mask_token": (1, 1024),
        "embeddings.position_embeddings": (1, 197, 1024),
        "embeddings.patch_embeddings.projection.weight": (1024, 3, 16, 16),
        "embeddings.patch_embeddings.projection.bias": (1024,),
    }
    for i in range(24):
        layer = norm("norm1", 1024) | norm("norm2", 1024)
        for part in ("query", "key", "value"):
            layer |= linear(f"attention.attention.{part}", 1024, 1024)
        layer |= linear("attention.output.dense", 1024, 1024)
        layer |= linear("mlp.fc1", 4096, 1024) | linear("mlp.fc2", 1024, 4096)
        layer |= {"layer_scale1.lambda1": (1024,), "layer_scale2.lambda1": (1024,)}
        shapes |= prefixed(f"encoder.layer.{i}.", layer)
    return shapes | norm("layernorm", 1024)


def conch_visual() -> Shapes:
    """The tower, its two poolers and its projection."""
    shapes = prefixed("trunk.", timm_vit(768, 12, 16, 785, (3072, 3072), scaled=False))
    pooler: Shapes = {"query": (1, 512), "attn.in_proj_bias": (1536,)}
    pooler |= {"attn.q_proj_weight": (512, 512), "attn.k_proj_weight": (512, 768), "attn.v_proj_weight": (512, 768)}
    pooler |= linear("attn.out_proj", 512, 512) | norm("ln_q", 512) | norm("ln_k", 768)
    shapes |= prefixed("attn_pool_contrast.", pooler) | norm("ln_contrast", 512)
    caption: Shapes = {"query": (256, 768), "attn.in_proj_weight": (2304, 768), "attn.in_proj_bias": (2304,)}
    caption |= linear("attn.out_proj", 768, 768) | norm("ln_q", 768) | norm("ln_k", 768)
    return shapes | prefixed("attn_pool_caption.", caption) | norm("ln_caption", 768) | {"proj_contrast": (512, 512)}


def conch_v15(positions: int) -> Shapes:
    shapes = prefixed("trunk.", timm_vit(1024, 24, 16, positions, (4096, 4096)))
    pooler: Shapes = {"query": (1, 768)} | norm("ln_k", 1024) | norm("ln_q", 768)
    pooler |= linear("to_q", 768, 768, False) | linear("to_kv", 1536, 1024, False) | linear("to_out", 768, 768, False)
    return shapes | prefixed("attn_pool_contrast.", pooler) | norm("ln_contrast", 768)


def ctranspath() -> Shapes:
    shapes: Shapes = {"patch_embed.proj.0.weight": (12, 3, 3, 3)} | batch_norm("patch_embed.proj.1", 12)
    shapes |= {"patch_embed.proj.3.weight": (24, 12, 3, 3)} | batch_norm("patch_embed.proj.4", 24)
    shapes |= {"patch_embed.proj.6.weight": (96, 24, 1, 1), "patch_embed.proj.6.bias": (96,)}
    shapes |= norm("patch_embed.norm", 96)
    for stage, (depth, heads, windows) in enumerate(((2, 3, 64), (2, 6, 16), (6, 12, 4), (2, 24, 0))):
        width = 96 * 2**stage
        for i in range(depth):
            block = norm("norm1", width) | norm("norm2", width)
            block |= linear("attn.qkv", 3 * width, width) | linear("attn.proj", width, width)
            block |= linear("mlp.fc1", 4 * width, width) | linear("mlp.fc2", width, 4 * width)
            block |= {"attn.relative_position_bias_table": (169, heads), "attn.relative_position_index": (49, 49)}
            if i % 2 and windows:
                block |= {"attn_mask": (windows, 49, 49)}
            shapes |= prefixed(f"layers.{stage}.blocks.{i}.", block)
        if stage < 3:
            step = linear("reduction", 2 * width, 4 * width, False) | norm("norm", 4 * width)
            shapes |= prefixed(f"layers.{stage}.downsample.", step)
    return shapes | norm("norm", 768)


def chief_slide() -> Shapes:
    shapes = linear("attention_net.0", 512, 768)
    for part, size in (("a.0", 256), ("b.0", 256)):
        shapes |= linear(f"attention_net.3.attention_{part}", size, 512)
    shapes |= linear("attention_net.3.attention_c", 1, 256)
    shapes |= linear("classifiers", 2, 512) | linear("instance_classifiers.0", 2, 512)
    shapes |= linear("instance_classifiers.1", 2, 512) | linear("att_head.fc1", 256, 512)
    shapes |= linear("att_head.fc2", 1, 256) | linear("text_to_vision.0", 512, 768)
    return shapes | {"organ_embedding": (19, 768)}


def monai_vit(class_token: bool) -> Shapes:
    """MONAI 0.9's (and 1.3's) ViT with the perceptron embedding."""
    shapes = linear("patch_embedding.patch_embeddings.1", 768, 4 * 16 * 16)
    shapes |= {"patch_embedding.position_embeddings": (1, 2048, 768)}
    for i in range(12):
        block = linear("mlp.linear1", 3072, 768) | linear("mlp.linear2", 768, 3072) | norm("norm1", 768)
        block |= linear("attn.qkv", 2304, 768, False) | linear("attn.out_proj", 768, 768) | norm("norm2", 768)
        shapes |= prefixed(f"blocks.{i}.", block)
    shapes |= norm("norm", 768)
    return shapes | ({"cls_token": (1, 1, 768)} if class_token else {})


def resnet18() -> Shapes:
    shapes: Shapes = {"conv1.weight": (64, 1, 7, 7, 7)} | batch_norm("bn1", 64)
    before = 64
    for layer, width in enumerate((64, 128, 256, 512), start=1):
        for i in (0, 1):
            block: Shapes = {"conv1.weight": (width, before, 3, 3, 3), "conv2.weight": (width, width, 3, 3, 3)}
            block |= batch_norm("bn1", width) | batch_norm("bn2", width)
            shapes |= prefixed(f"layer{layer}.{i}.", block)
            before = width
    return shapes


def on_meta(shapes: Shapes) -> dict[str, Tensor]:
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def files() -> dict[str, dict[str, Any]]:
    """Content of each published file, by the key of its source."""
    vits = {
        "uni": timm_vit(1024, 24, 16, 197, (4096, 4096)),
        "uni2-h": timm_vit(1536, 24, 14, 256, (8192, 4096), registers=8),
        "virchow2": timm_vit(1280, 32, 14, 261, (6832, 3416), registers=4),
        "h-optimus-1": timm_vit(1536, 40, 14, 256, (8192, 4096), registers=4),
        "prov-gigapath": timm_vit(1536, 40, 16, 197, (8192, 4096)),
        "phikon-v2": dinov2(),
        "conch-v1.5": conch_v15(785),
        "chief-slide": chief_slide(),
    }
    contents: dict[str, dict[str, Any]] = {key: dict(on_meta(shapes)) for key, shapes in vits.items()}
    for key, regions, width in (("hipt", False, 384), ("hipt-4k", True, 192)):
        wrapped = on_meta(prefixed("module.", prefixed("backbone.", hipt(regions)) | dino_head(width)))
        contents[key] = {"student": wrapped, "teacher": wrapped, "optimizer": {"state": {}}, "epoch": 400}
    others: Shapes = {"logit_scale": (), "text.cls_emb": (768,), "text_decoder.ln_final.weight": (768,)}
    contents["conch"] = dict(on_meta(prefixed("visual.", conch_visual()) | others))
    contents["chief"] = {"model": on_meta(ctranspath())}
    decoder: Shapes = {"model.decoder.conv.weight": (1, 768, 1, 1, 1)}
    contents["segvol"] = {
        "state_dict": on_meta(prefixed("model.encoder.", monai_vit(False)) | decoder),
        "epoch": 2000,
        "hyper_parameters": {},
    }
    tower = prefixed("vision_encoder.", monai_vit(True)) | linear("mm_vision_proj", 768, 768)
    text = linear("mm_language_proj", 768, 768) | norm("language_encoder.embeddings.LayerNorm", 768)
    contents["m3d-clip"] = dict(on_meta(tower | text | {"logit_scale": ()}))
    image = resnet18() | linear("global_embedding.head", 4096, 512)
    student = prefixed("module.image_encoder_q_student.", image)
    contents["renalclip"] = {"model": on_meta(student | {"module.logit_scale": ()}), "epoch": 1}
    return contents
