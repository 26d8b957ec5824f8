"""Quantised copies of a Llama folder, in the form of compressed-tensors, by rounding to the nearest step.

It is the plainest way there is, without calibration: what it costs is an upper bound of what a good tool would.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from concept_icd.artifacts import read_json, write_json

#: Weights that share a step, in 4 bits.
GROUP = 32
_INT8 = {"num_bits": 8, "type": "int", "symmetric": True}
#: Name -> settings of the linear layers, and the form on disk.
_SCHEMES: dict[str, tuple[dict[str, Any], str]] = {
    "int8": (
        {
            "weights": {**_INT8, "strategy": "channel", "dynamic": False},
            "input_activations": {**_INT8, "strategy": "token", "dynamic": True},
        },
        "int-quantized",
    ),
    "int4": (
        {"weights": {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": GROUP}},
        "pack-quantized",
    ),
}


def quantise(model: Path, folder: Path, scheme: str) -> Path:
    """Writes a copy whose linear layers are quantised; embedding and LM head stay as they are.

    Args:
        scheme: "int8": weights by output channel, and activations by token ("w8a8"). "int4": weights in groups of 32
            ("w4a16").
    """
    folder.mkdir(parents=True)
    for file in model.iterdir():
        if file.suffix != ".safetensors":
            shutil.copyfile(file, folder / file.name)
    tensors: dict[str, torch.Tensor] = {}
    for name, weight in load_file(model / "model.safetensors").items():
        layer, is_linear, _ = name.rpartition("_proj.weight")
        if not is_linear:
            tensors[name] = weight
        elif scheme == "int8":
            scale = weight.abs().amax(1, keepdim=True) / 127
            tensors |= {name: (weight / scale).round().to(torch.int8), f"{name}_scale": scale}
        else:
            rows, columns = weight.shape
            groups = weight.view(rows, columns // GROUP, GROUP)
            scale = groups.abs().amax(2, keepdim=True) / 7.5
            steps = ((groups / scale).round().clamp(-8, 7) + 8).to(torch.int64).view(rows, columns // 8, 8)
            packed = (steps << (4 * torch.arange(8))).sum(2)  # eight in an integer of 32 bits, the first one lowest
            packed = torch.where(packed >= 2**31, packed - 2**32, packed).to(torch.int32)
            own = f"{layer}_proj.weight"
            tensors |= {
                f"{own}_packed": packed,
                f"{own}_scale": scale[..., 0],
                f"{own}_shape": torch.tensor([rows, columns]),
            }
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    layers, form = _SCHEMES[scheme]
    settings = {"quant_method": "compressed-tensors", "format": form, "quantization_status": "compressed"}
    settings |= {"ignore": ["lm_head"], "config_groups": {"group_0": {"targets": ["Linear"], **layers}}}
    write_json(folder / "config.json", read_json(folder / "config.json") | {"quantization_config": settings})
    return folder
