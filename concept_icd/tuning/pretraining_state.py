"""What a pre-training run keeps on disk: weights and the optimisers' moments in safetensors, the rest in JSON."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from concept_icd.artifacts import write_json
from concept_icd.outputs import new_folder

STATE, MOMENTS = "state.json", "optimizer.safetensors"


class Float32Muon(torch.optim.Muon):
    """Muon whose Newton-Schulz iteration runs in float32, on all matrices of a size at once.

    PyTorch's own iterates in bfloat16. Processors without instructions for it emulate these products, which took two
    thirds of a step of the tiny model.
    """

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Updates every matrix that has a gradient; a closure is not called."""
        for group in self.param_groups:
            alike: dict[tuple[int, ...], list[torch.nn.Parameter]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike[tuple(parameter.shape)].append(parameter)
            for parameters in alike.values():
                self._step_together(group, parameters)

    def _step_together(self, group: dict[str, Any], parameters: list[torch.nn.Parameter]) -> None:
        updates = []
        for parameter in parameters:
            gradient: Any = parameter.grad
            buffer = self.state[parameter].setdefault("momentum_buffer", torch.zeros_like(parameter))
            buffer.lerp_(gradient, 1 - group["momentum"])
            updates.append(gradient.lerp(buffer, group["momentum"]) if group["nesterov"] else buffer)
        rows, columns = parameters[0].shape
        rate = group["lr"] * 0.2 * math.sqrt(max(rows, columns))  # match_rms_adamw
        for parameter, update in zip(parameters, orthogonal(torch.stack(updates), group), strict=True):
            parameter.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=rate)


def orthogonal(matrices: torch.Tensor, group: Mapping[str, Any]) -> torch.Tensor:
    """(n, rows, columns): the nearest orthogonal matrix of each, nearly, by Newton-Schulz iteration."""
    if matrices.shape[1] > matrices.shape[2]:
        return orthogonal(matrices.mT, group).mT
    a, b, c = group["ns_coefficients"]
    matrices = matrices / matrices.norm(dim=(1, 2), keepdim=True).clamp(min=group["eps"])
    for _ in range(group["ns_steps"]):
        gram = matrices @ matrices.mT
        matrices = torch.baddbmm(matrices, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), matrices, beta=a)
    return matrices


def new_optimizers(model: Any, learning_rate: float, weight_decay: float) -> list[torch.optim.Optimizer]:
    """Muon (Jordan 2024) for the matrices inside the layers, AdamW for the embedding and the norms.

    In a trial on lists of random words, finding a word again was learnt with Muon in half the steps of AdamW alone.
    """
    matrices: list[torch.nn.Parameter] = []
    others: list[torch.nn.Parameter] = []
    for name, parameter in model.named_parameters():
        (matrices if ".layers." in name and parameter.ndim == 2 else others).append(parameter)
    return [
        torch.optim.AdamW(others, lr=learning_rate, betas=(0.9, 0.98), weight_decay=weight_decay),
        Float32Muon(matrices, lr=learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"),
    ]


def save_state(
    folder: Path, model: Any, tokenizer: Any, optimizers: Sequence[torch.optim.Optimizer], state: Mapping[str, Any]
) -> None:
    """Writes a folder that loads as a model and from which a run can go on."""
    moments = {
        f"{key}:{name}": value.contiguous()
        for name, parameter in model.named_parameters()
        for optimizer in optimizers
        for key, value in optimizer.state.get(parameter, {}).items()
    }
    with new_folder(folder, "model", overwrite=True) as staging:
        model.save_pretrained(staging)
        tokenizer.save_pretrained(staging)
        save_file(moments, staging / MOMENTS)
        write_json(staging / STATE, state)


def load_moments(folder: Path, model: Any, optimizers: Sequence[torch.optim.Optimizer]) -> None:
    """Puts the moments of `save_state` into new optimisers."""
    parameters = dict(model.named_parameters())
    owner = {
        parameter: optimizer
        for optimizer in optimizers
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    for label, value in load_file(folder / MOMENTS).items():
        key, name = label.split(":")
        owner[parameters[name]].state[parameters[name]][key] = value


def save_model(folder: str | Path, model: Any, tokenizer: Any) -> None:
    """The finished model as a loadable folder, weights in float16 (loaders ask for float32)."""
    with new_folder(folder, "model", overwrite=True) as staging:
        half = model.__class__(model.config).to(torch.float16)
        half.load_state_dict(model.state_dict())
        half.save_pretrained(staging)
        tokenizer.save_pretrained(staging)
