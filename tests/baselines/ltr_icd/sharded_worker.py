"""One process of `test_a_sharded_model_is_saved_whole`: shards a small model over two processes and saves it.

python sharded_worker.py OUT
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch.distributed as dist
from accelerate import Accelerator, FullyShardedDataParallelPlugin
from accelerate.utils import DistributedType
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from concept_icd.baselines.ltr_icd.training import save
from tests.baselines.ltr_icd.small_models import small_model
from tests.conftest import build_tokenizer


def main(out: str) -> None:
    accelerator = Accelerator(cpu=True)
    assert accelerator.num_processes == 2
    model = small_model()
    for layer in model.encoder.block:
        fully_shard(layer)
    fully_shard(model)
    assert all(isinstance(weight, DTensor) for weight in model.parameters())
    # accelerate shards on GPUs alone; told that the model is sharded, it gathers on CPUs as it does there.
    accelerator.state._shared_state["distributed_type"] = DistributedType.FSDP
    accelerator.state._shared_state["fsdp_plugin"] = FullyShardedDataParallelPlugin(fsdp_version=2)
    save(accelerator, model, build_tokenizer(), Path(out))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
