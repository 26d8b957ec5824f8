"""The network on tiny random weights: losses by hand, decoding with and without a cache, saving, other encoders."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch.nn.functional import binary_cross_entropy_with_logits

from concept_icd.baselines.ltr_icd.backbones import load_backbone
from concept_icd.baselines.ltr_icd.decoding import START, generate
from concept_icd.baselines.ltr_icd.model import NO_TOKEN, LtrIcd
from concept_icd.errors import InputError
from concept_icd.heads.calibration import Threshold
from tests.baselines.ltr_icd.small_models import BACKBONES, DIAGNOSES, PROCEDURES, batch, small_model


@pytest.mark.parametrize("weight", [0.0, 0.7])
def test_loss_is_the_sum_of_both_in_nats_a_note(weight: float) -> None:
    model, notes = small_model(generation_weight=0.5, classifier_weight=weight), batch()
    labels = (torch.rand(3, 9) < 0.4).float()
    sequences = [model.grammar.encode(codes) for codes in ([2, 0, 7], [], [8])]
    padded = torch.tensor([tokens + [NO_TOKEN] * (6 - len(tokens)) for tokens in sequences])
    with torch.no_grad():
        found = model(**notes, labels=labels, sequence=padded)
        expected = binary_cross_entropy_with_logits(found["logits"], labels, reduction="sum")
        hidden, mask = model.encode(**notes)
        for row, tokens in enumerate(sequences):  # token by token, each after all before it
            for place, token in enumerate(tokens):
                read = torch.tensor([[START, *tokens[:place]]])
                states = model.decoder(
                    input_ids=read,
                    encoder_hidden_states=hidden[row : row + 1],
                    encoder_attention_mask=mask[row : row + 1],
                ).last_hidden_state[0, -1]
                logits = model.decoder.embed_tokens.weight @ states / 4  # d^0.5, d = 16
                logits[4:] += weight * found["logits"][row].sigmoid().log()
                logits[~model.grammar.allowed(read)[0, -1]] = -torch.inf
                expected += 0.5 * -logits.log_softmax(0)[token]
    assert found["loss"].item() == pytest.approx(expected.item() / 3, rel=1e-4)


@pytest.mark.parametrize("beams", [1, 3])
def test_decoding_with_a_cache_is_decoding_without(beams: int) -> None:
    model = small_model(beams=beams, classifier_weight=0.5)
    with torch.no_grad():
        hidden, mask = model.encode(**batch())
        logits = model.classify(hidden, mask)
        wide, real = hidden.repeat_interleave(beams, 0), mask.repeat_interleave(beams, 0)
        written: list[torch.Tensor] = []

        def step(last: torch.Tensor, parents: torch.Tensor) -> torch.Tensor:
            written[:] = [torch.cat([written[0][parents], last[:, None]], 1) if written else last[:, None]]
            return model._write(written[0], wide, real, logits.repeat_interleave(beams, 0))[:, -1]

        plain = generate(step, torch.ones(3, 9, dtype=torch.bool), model.grammar, beams, 100)
        assert model.generate(hidden, mask, logits) == plain
    assert max(map(len, plain)) > 1


def test_a_note_is_read_alike_alone_and_in_a_batch() -> None:
    model, notes = small_model(), batch()
    with torch.no_grad():
        together = model.classify(*model.encode(**notes))
        for row, length in enumerate((9, 4, 6)):
            alone = {name: value[row : row + 1, :length] for name, value in notes.items()}
            torch.testing.assert_close(model.classify(*model.encode(**alone))[0], together[row], atol=1e-4, rtol=1e-4)


def test_gradient_checkpointing_gives_the_same_gradients() -> None:
    model, notes = small_model().train(), batch()
    sequence = torch.tensor([model.grammar.encode([2, 0, 7])] * 3)
    found = []
    for checkpointing in (False, True):
        if checkpointing:
            model.gradient_checkpointing_enable()
            assert model.encoder.is_gradient_checkpointing
        model.zero_grad()
        model(**notes, labels=torch.ones(3, 9), sequence=sequence)["loss"].backward()
        found.append({name: p.grad.clone() for name, p in model.named_parameters()})
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_plm_icd_is_the_classifier_on_any_encoder(backbone: str, tmp_path: Path) -> None:
    model, notes = small_model(backbone, ranking=False, kernel_size=1), batch()
    assert model.decoder is None
    assert [len(block.bias) for block in model.label_attentions] == [9]  # one block for all codes
    out = model(**notes, labels=torch.zeros(3, 9), sequence=torch.full((3, 2), NO_TOKEN))
    out["loss"].backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None and "position" not in name]
    model.save_pretrained(tmp_path)
    torch.testing.assert_close(LtrIcd.from_pretrained(tmp_path, "cpu")(**notes)["logits"], out["logits"])


def test_plm_icd_attends_to_padding_and_takes_the_mean_over_labels() -> None:
    """softmax over all 12 places, real or not: logit_l = b_l + sum_n softmax_n(u_l . tanh(W h_n)) (w_l . h_n)."""
    options = {"ranking": False, "kernel_size": 1, "channels": 16, "loss": "mean", "padding_attends": True}
    model, notes = small_model("roberta", **options), batch()
    labels = (torch.rand(3, 9) < 0.4).float()
    with torch.no_grad():
        found = model(**notes, labels=labels)
        hidden, _ = model.encode(**notes)
        assert hidden.shape == (3, 12, 16)
        (block,) = model.label_attentions
        attention = (torch.tanh(hidden @ block.first[..., 0].T) @ block.second.T).softmax(dim=1)  # (notes, 12, labels)
        logits = torch.einsum("ntl,ntd,ld->nl", attention, hidden, block.weight) + block.bias
        torch.testing.assert_close(found["logits"], logits, atol=1e-4, rtol=1e-4)
        expected = binary_cross_entropy_with_logits(logits, labels)  # of all 27 pairs
        assert found["loss"].item() == pytest.approx(expected.item(), rel=1e-4)
        masked = small_model("roberta", **options | {"padding_attends": False})
        masked.load_state_dict(model.state_dict())
        assert (masked(**notes)["logits"] - logits)[1].abs().max() > 1e-3  # the note of 4 tokens


@pytest.mark.parametrize(("diagnoses", "procedures"), [(DIAGNOSES, ()), ((), PROCEDURES)])
def test_a_label_set_of_one_kind(diagnoses: tuple[str, ...], procedures: tuple[str, ...]) -> None:
    model = small_model(diagnoses=diagnoses, procedures=procedures)
    hidden, mask = model.encode(**batch())
    logits = model.classify(hidden, mask)
    assert logits.shape == (3, len(diagnoses + procedures))
    assert all(len(set(codes)) == len(codes) for codes in model.generate(hidden, mask, logits))
    sequence = torch.tensor([model.grammar.encode([0])] * 3)
    model(**batch(), labels=torch.zeros(3, len(diagnoses + procedures)), sequence=sequence)["loss"].backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None]  # DDP asks for all of them


def test_folder_holds_json_and_safetensors_and_gives_the_same_model(tmp_path: Path) -> None:
    model, notes = small_model(beams=2), batch()
    threshold = Threshold(0.3, True, 0.5, "micro-F1 on the dev split")
    model.settings = dataclasses.replace(model.settings, threshold=dataclasses.asdict(threshold))
    model.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors"}
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert set(file.keys()) == set(model.state_dict())
    again = LtrIcd.from_pretrained(tmp_path, "cpu")
    assert again.settings == dataclasses.replace(model.settings, backbone=again.settings.backbone)
    assert again.threshold == Threshold(0.3, True, 0.5, "micro-F1 on the dev split")
    with torch.no_grad():
        torch.testing.assert_close(again(**notes)["logits"], model(**notes)["logits"], rtol=0, atol=0)
        read = model.encode(**notes)
        assert again.generate(*again.encode(**notes), again.classify(*read)) == model.generate(
            *read, model.classify(*read)
        )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format_version": 9}, "has another format"),
        ({"system": "other"}, "not the configuration of an LTR-ICD"),
        ({"diagnoses": ["486"]}, "do not fit its config.json"),
        ({"more": 1}, "one too many"),
    ],
)
def test_a_damaged_folder_is_refused_in_a_sentence(change: dict[str, object], words: str, tmp_path: Path) -> None:
    small_model().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=words):
        LtrIcd.from_pretrained(tmp_path, "cpu")
    (tmp_path / "config.json").unlink()
    with pytest.raises(InputError, match="cannot read"):
        LtrIcd.from_pretrained(tmp_path, "cpu")


def test_a_base_that_does_not_fit_is_refused(llama: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a llama, LTR-ICD needs a T5"):
        load_backbone(str(llama), ranking=True)
    with pytest.raises(InputError, match="cannot load the base model"):
        load_backbone(str(tmp_path / "nothing"), ranking=True)
