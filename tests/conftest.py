"""What every test may use. Tests that read the public corpora skip, with the reason, where those are absent."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import pytest

pytest_plugins = ["tests.fitted_coder", "tests.small_disk"]
ROOT = Path(__file__).resolve().parent.parent

with contextlib.suppress(ImportError):  # it is not in every environment that runs a part of the tests
    import hypothesis

    hypothesis.settings.register_profile("untimed", deadline=None)  # no test fails because a machine is slow
    hypothesis.settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest modules come first, so that at the end no worker is left alone with one."""
    minutes: dict[Path, float] = {}
    for item in items:
        if marker := item.get_closest_marker("slow"):
            minutes[item.path] = minutes.get(item.path, 0) + marker.kwargs.get("minutes", 0.2)
    items.sort(key=lambda item: -minutes.get(item.path, 0))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public corpora (see CONTRIBUTING.md): $CONCEPT_ICD_DATA, or shared/data beside the checkout."""
    folder = Path(os.environ.get("CONCEPT_ICD_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the public corpora are not at {folder}; set CONCEPT_ICD_DATA to their folder")
    return folder


TRAINING_TEXT = [
    "Read the clinical note, then answer yes or no: does it document this condition or procedure of the patient?",
    "Note: cough and fever for three days. Concept: pneumonia? yes. Concept: asthma? no.",
    "CLINICAL HISTORY: urinary tract infection. IMPRESSION: normal renal ultrasound, no hydronephrosis.",
    "Diseases of the respiratory system; diseases of the genitourinary system; symptoms and ill-defined conditions.",
] * 5


def build_tokenizer() -> Any:
    """A byte-level BPE tokenizer trained on the few lines above, with " yes" and " no" as single tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<pad>", "<s>", "</s>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(TRAINING_TEXT, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", model_max_length=512
    )


def build_model(folder: Path, family: str = "llama") -> Path:
    """A random two-layer model of a family ("llama", "qwen3") with its tokenizer, saved as users' models are."""
    import torch
    import transformers

    sizes = {
        "vocab_size": 400,
        "hidden_size": 128,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "max_position_embeddings": 512,
        "initializer_range": 0.15,  # wide, so that scores differ clearly between questions
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    torch.manual_seed(0)
    config = {"llama": transformers.LlamaConfig, "qwen3": transformers.Qwen3Config}[family](**sizes)
    model = transformers.AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_model(tmp_path_factory.mktemp("llama"), "llama")


@pytest.fixture(scope="session")
def qwen3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_model(tmp_path_factory.mktemp("qwen3"), "qwen3")


def build_adapter(model_folder: Path, folder: Path) -> Path:
    """A LoRA adapter whose weights are random instead of neutral, saved by PEFT."""
    import peft
    import torch
    import transformers

    base = transformers.AutoModelForCausalLM.from_pretrained(model_folder)
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"])
    model = peft.get_peft_model(base, config)
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="session")
def llama_adapter(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_adapter(llama, tmp_path_factory.mktemp("llama-adapter"))


@pytest.fixture(scope="session")
def qwen3_adapter(qwen3: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_adapter(qwen3, tmp_path_factory.mktemp("qwen3-adapter"))
