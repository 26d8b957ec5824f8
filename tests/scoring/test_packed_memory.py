"""Packed scoring needs no more memory for many questions than for some: no tensor grows with them but their answers."""

import pytest
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from concept_icd.records import Concept, Note
from concept_icd.scoring.packed import PackedScorer

CONCEPTS = [Concept(f"code:{number:03d}", "code", "pneumonia", (f"{number:03d}",)) for number in range(400)]


class LargestTensor(TorchDispatchMode):
    """Watches every operator, and keeps the bytes of the largest tensor that one made."""

    def __init__(self, weights):
        super().__init__()
        self.weights = {weight.untyped_storage().data_ptr() for weight in weights}
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        value = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(value):
            if hasattr(leaf, "untyped_storage") and leaf.untyped_storage().data_ptr() not in self.weights:
                self.bytes = max(self.bytes, leaf.untyped_storage().nbytes())
        return value


@pytest.mark.parametrize("notes", [1, 3])
def test_no_tensor_grows_with_the_number_of_questions(llama, notes):
    scorer = PackedScorer.from_pretrained(llama, chunk_tokens=128)
    asked = [Note(str(number), "cough and fever for three days") for number in range(notes)]
    largest = {}
    for count in (40, 400):
        with LargestTensor(scorer.model.parameters()) as watched:
            scored = list(scorer.iter_scores(asked, CONCEPTS[:count]))
        assert [len(scores.logits) for scores in scored] == [count] * notes
        largest[count] = watched.bytes
    assert largest[400] == largest[40] > 0
