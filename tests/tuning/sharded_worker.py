"""One process of `test_sharded.py`: writes the gradients of the LoRA weights for its share of four notes.

python sharded_worker.py MODEL OUT PROCESSES
"""

from __future__ import annotations

import sys

import torch
import torch.distributed as dist
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from torch.distributed.fsdp import fully_shard
from transformers import AutoModelForCausalLM

from concept_icd.llm.packed_pass import accept_packing, packed_margins
from concept_icd.llm.packing import pack_batch
from concept_icd.tuning.examples import NO_ANSWER
from concept_icd.tuning.trainer import answer_loss


def main(folder: str, out: str, ranks: int) -> None:
    sharded = ranks > 1
    if sharded:
        dist.init_process_group("gloo")
    rank = dist.get_rank() if sharded else 0
    torch.manual_seed(0)
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
        LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False),
    )
    accept_packing(model)
    if sharded:
        for layer in model.base_model.model.model.layers:
            fully_shard(layer)
        fully_shard(model)
    notes = [[5, 6, 7, 8, 9], [9, 8, 7], [4, 4, 4, 5, 6, 7, 8], [7, 6]]
    asked = [[[11, 12, 3], [13, 3]], [[11, 12, 3]], [[13, 3], [14, 15, 3], [11, 12, 3]], [[14, 15, 3]]]
    answers = [[1.0, 0.0], [0.0], [0.0, 1.0, 0.0], [1.0]]
    mine = [number for number in range(4) if number % ranks == rank]
    batch = pack_batch([notes[n] for n in mine], [asked[n] for n in mine], 0)
    width = max(len(answers[n]) for n in mine)
    labels = torch.full((len(mine), width), NO_ANSWER)
    for row, number in enumerate(mine):
        labels[row, -len(answers[number]) :] = torch.tensor(answers[number])
    loss = answer_loss(packed_margins(model, batch, 21, 22, width), labels) * ranks / sum(map(len, answers))
    loss.backward()
    gradients = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            gradient = parameter.grad
            gradients[name] = (gradient.full_tensor() if sharded else gradient).contiguous()
    if rank == 0:
        save_file(gradients, out)
    if sharded:
        dist.barrier()
        dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
