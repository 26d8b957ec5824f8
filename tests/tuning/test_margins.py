"""What a step of tuning keeps of the vocabulary: two rows of the head, in float32, whatever the base weighs in."""

from __future__ import annotations

import peft
import pytest
import torch
import transformers
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from concept_icd.llm.packed_pass import accept_packing, packed_margins
from concept_icd.llm.packing import pack_batch

#: A vocabulary much larger than anything else, so that a tensor over it would be the largest by far.
VOCABULARY, HIDDEN, YES, NO = 50_000, 64, 21, 22


def tuned_model(tied: bool, dtype: torch.dtype) -> torch.nn.Module:
    """A random base, frozen in `dtype`, with a LoRA that learns in float32, as `finetune` has it."""
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        initializer_range=0.15,
        tie_word_embeddings=tied,
    )
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype)
    model = peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"]))
    accept_packing(model)
    return model


def batch_of(notes: int = 2) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(1)
    note = [torch.randint(30, VOCABULARY, (40,), generator=rng).tolist() for _ in range(notes)]
    return pack_batch(note, [[[7, 8, 9], [10, 11], [12, 13, 14]]] * notes, 0)


class Tensors(TorchDispatchMode):
    """Watches every operator, forward and backward: the most bytes of a tensor that one made beside the weights."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
        self.largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        value = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(value):
            if isinstance(leaf, torch.Tensor) and leaf.untyped_storage().data_ptr() not in self.weights:
                self.largest = max(self.largest, leaf.untyped_storage().nbytes())
        return value


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_step_makes_no_tensor_over_the_vocabulary(tied, dtype):
    model, batch = tuned_model(tied, dtype), batch_of()
    with Tensors(model) as watched, torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        margins = packed_margins(model, batch, YES, NO, 3)
        margins.sum().backward()
    assert margins.dtype == torch.float32
    gradients = [weights.grad for weights in model.parameters() if weights.requires_grad]
    assert gradients
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
    assert max(gradient.abs().max() for gradient in gradients) > 0
    logits = batch["input_ids"].numel() * VOCABULARY * dtype.itemsize
    assert 0 < watched.largest < logits / 50
    with Tensors(model) as watched, torch.no_grad():
        model(**{name: batch[name] for name in ("input_ids", "position_ids")}, use_cache=False)
    assert watched.largest >= logits, "the watch must see the logits of an ordinary pass"


@pytest.mark.parametrize("tied", [False, True])
def test_margins_of_a_bfloat16_base_are_as_fine_as_float32(tied):
    """Two bfloat16 logits near 14 differ by multiples of 1/16. Their difference in float32 does not."""
    model, batch = tuned_model(tied, torch.bfloat16).eval(), batch_of(40)
    head = model.get_output_embeddings()
    with torch.no_grad():
        head.weight[YES] *= 20
        head.weight[NO] = head.weight[YES] + head.weight[NO]  # both logits large, near each other
        hidden = []
        head.register_forward_pre_hook(lambda _, given: hidden.append(given[0]))
        margins = packed_margins(model, batch, YES, NO, 3)
        rows = head.weight[[YES, NO]].double()
        exact = hidden[0].double() @ (rows[0] - rows[1])
        coarse = torch.nn.functional.linear(hidden[0], head.weight[[YES, NO]])
        coarse = (coarse[..., 0] - coarse[..., 1]).double()
    exact, coarse = exact[:, -3:], coarse[:, -3:]
    torch.testing.assert_close(margins.double(), exact, atol=1e-4, rtol=1e-4)
    assert (coarse - exact).abs().max() > 0.03, "bfloat16's own difference must be coarse for this to say something"
    assert len(margins.unique()) == margins.numel() > 1.5 * len(coarse.unique())
