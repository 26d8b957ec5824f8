"""Tiny models and notes for these tests."""

from __future__ import annotations

import torch
from transformers import BertConfig, RobertaConfig, T5Config

from concept_icd.baselines.ltr_icd.backbones import random_backbone
from concept_icd.baselines.ltr_icd.config import LtrIcdConfig, ModelOptions
from concept_icd.baselines.ltr_icd.model import LtrIcd
from concept_icd.records import CodedNote, Note

DIAGNOSES = ("038.9", "250.00", "401.9", "428.0", "486", "599.0")
PROCEDURES = ("38.93", "45.13", "96.04")
BERT = {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
BACKBONES = {
    "t5": T5Config(vocab_size=60, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, dropout_rate=0.0),
    "bert": BertConfig(**BERT),
    "roberta": RobertaConfig(**BERT, max_position_embeddings=40, pad_token_id=0),
}


def small_model(
    backbone: str = "t5", diagnoses: tuple[str, ...] = DIAGNOSES, procedures: tuple[str, ...] = PROCEDURES, **options
) -> LtrIcd:
    torch.manual_seed(0)
    options = {"segment_tokens": 4, "channels": 8, "dropout": 0.0, "ranking": True} | options
    settings = LtrIcdConfig(ModelOptions(**options), diagnoses, procedures, BACKBONES[backbone].to_dict())
    model = LtrIcd(settings, *random_backbone(settings.backbone, ranking=options["ranking"]))
    if model.decoder is not None:  # of all logits as large as this, so that tokens differ clearly
        torch.nn.init.normal_(model.decoder.embed_tokens.weight, std=3.0)
    return model.eval()


def batch(lengths: tuple[int, ...] = (9, 4, 6)) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    mask = (torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]).long()
    return {"input_ids": torch.randint(2, 60, mask.shape) * mask, "attention_mask": mask}


#: Words that tell a code, the first of a note's the principal diagnosis or procedure.
WORDS = {
    "038.9": "sepsis", "250.00": "diabetes", "401.9": "hypertension", "428.0": "heart failure", "486": "pneumonia",
    "599.0": "urinary infection", "38.93": "central line", "45.13": "endoscopy", "96.04": "intubation",
}  # fmt: skip


def coded(number: int, diagnoses: tuple[str, ...], procedures: tuple[str, ...] = (), split: str | None = "train"):
    """A note that names its codes in their order."""
    said = ", then ".join(WORDS[code] for code in (*diagnoses, *procedures)) or "nothing of note"
    note = Note(f"n{number:02d}", f"Stay {number}: {said}. Discharged home.", f"p{number:02d}")
    return CodedNote(note, diagnoses, procedures, split=split)
