"""One process of `test_fsdp.py`: a tuning run under accelerate's FSDP, on the CPU.

python fsdp_worker.py OUT FLAGS...

accelerate shards on GPUs alone. It is told here that gloo on CPUs is several GPUs; all else is what it does there:
loading on the main process alone, sharding, gathering, saving. Beside the run, each process writes to OUT which of the
base's weights it held after loading, and what of the model it held while it trained.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import accelerate.state
import torch
from accelerate.utils import DistributedType
from torch.distributed.tensor import DTensor

SEVERAL = DistributedType.MULTI_GPU


def pretend_that_the_cpu_is_several_gpus() -> None:
    def backend(self, cpu=False, sagemaker_dp=False, given=None):
        return "gloo", SEVERAL

    def device(self):
        self.device = torch.device("cpu")

    torch.distributed.init_process_group("gloo")
    accelerate.state.PartialState._prepare_backend = backend
    accelerate.state.PartialState.set_device = device


def main(report: Path, flags: list[str]) -> int:
    pretend_that_the_cpu_is_several_gpus()
    from concept_icd.tuning import finetune as stage
    from concept_icd.tuning import trainer
    from concept_icd.tuning.__main__ import main as tune
    from concept_icd.tuning.trainer import ConceptTrainer

    said: dict[str, object] = {}
    load, loss = stage.load_model, ConceptTrainer.compute_loss

    def loaded(*arguments, **options):
        found = load(*arguments, **options)
        said["loaded"] = {name: bool(weight.any()) for name, weight in found.model.named_parameters()}
        return found

    def watched(self, model, *others, **more):
        if "held" not in said:
            weights = dict(model.named_parameters())
            said["sharded"] = all(isinstance(weight, DTensor) for weight in weights.values())
            said["whole"] = sum(weight.numel() for weight in weights.values())
            said["held"] = sum(weight.to_local().numel() for weight in weights.values())
        return loss(self, model, *others, **more)

    def answered(*arguments):
        margins = ask(*arguments)
        said["margins"] = str(margins.dtype)
        said["finer than bfloat16"] = bool((margins != margins.bfloat16()).any())
        return margins

    ask = trainer.packed_margins
    stage.load_model, ConceptTrainer.compute_loss, trainer.packed_margins = loaded, watched, answered
    code = tune(flags)
    rank = torch.distributed.get_rank()
    report.with_name(f"{report.name}-{rank}.json").write_text(json.dumps(said))
    torch.distributed.destroy_process_group()
    return code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
