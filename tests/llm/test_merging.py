"""A merged folder is a base model of its own that scores as base and adapter do."""

import json
import shutil

import numpy as np
import pytest

from concept_icd.errors import InputError
from concept_icd.llm.merging import merge_adapter
from concept_icd.scoring.packed import PackedScorer
from tests.scoring.test_packed import CONCEPTS, NOTES


def test_a_merged_model_scores_as_base_and_adapter(llama, llama_adapter, tmp_path):
    merge_adapter(llama, llama_adapter, tmp_path)
    expected = PackedScorer.from_pretrained(llama, llama_adapter).score(NOTES, CONCEPTS).logits
    found = PackedScorer.from_pretrained(tmp_path).score(NOTES, CONCEPTS).logits
    assert np.abs(PackedScorer.from_pretrained(llama).score(NOTES, CONCEPTS).logits - expected).max() > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_what_cannot_be_merged_is_one_sentence(llama, llama_adapter, qwen3_adapter, tmp_path):
    with pytest.raises(InputError, match="cannot load the base model"):
        merge_adapter(tmp_path / "nothing", llama_adapter, tmp_path / "out")
    with pytest.raises(InputError, match=r"it has no adapter_config\.json"):
        merge_adapter(llama, tmp_path, tmp_path / "out")
    quantised = shutil.copytree(llama, tmp_path / "quantised")
    config = json.loads((quantised / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "compressed-tensors", "format": "int-quantized"}
    (quantised / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="is quantised: merge the adapter into the base as it was"):
        merge_adapter(quantised, llama_adapter, tmp_path / "out")
