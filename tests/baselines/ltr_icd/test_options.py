"""The shipped configs parse; a wrong key names the nearest; values are checked."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from concept_icd.baselines.ltr_icd.config import make_options, parse_options
from concept_icd.errors import InputError
from tests.conftest import ROOT

CONFIGS = sorted((ROOT / "configs" / "ltr-icd").glob("*.yaml"))


def parse(tmp_path: Path, config: str | Path, *more: str):  # type: ignore[no-untyped-def]
    return parse_options(["--config", str(config), "--corpus", "c", "--output_dir", str(tmp_path / "o"), *more])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs_say_what_they_mean(path: Path, tmp_path: Path) -> None:
    model, corpus, training = parse(tmp_path, path)
    for name, value in yaml.safe_load(path.read_text(encoding="utf-8")).items():
        holder = next(part for part in (model, corpus, training) if hasattr(part, name))
        if name != "bf16":  # off where there is no GPU
            assert getattr(holder, name) == value
    assert training.report_to in ("none", [])  # nothing leaves the machine
    assert parse(tmp_path, path.stem, "--kernel_size", "7")[0].kernel_size == 7


def test_each_system_is_there_under_its_own_name(tmp_path: Path) -> None:
    names = {path.stem: parse(tmp_path, path)[0].system for path in CONFIGS}
    assert names == {
        "tiny": "ltr-icd", "clinicalt5": "ltr-icd", "plm-icd": "plm-icd", "plm-icd-tiny": "plm-icd",
        "label-attention": "label-attention",
    }  # fmt: skip


def test_plm_icd_is_trained_as_its_released_script_does(tmp_path: Path) -> None:
    model, _, training = parse(tmp_path, "plm-icd")
    assert (model.segment_tokens, model.max_tokens, model.text, model.kernel_size) == (128, 3072, "caml", 1)
    assert (model.loss, model.padding_attends, model.initializer_range, model.dropout) == ("mean", True, 0.02, 0.0)
    assert (training.per_device_train_batch_size, training.gradient_accumulation_steps) == (1, 8)
    assert (training.per_device_eval_batch_size, training.train_sampling_strategy) == (1, "random")
    assert (training.learning_rate, training.warmup_steps, training.num_train_epochs) == (5e-5, 2000, 20)
    assert (training.lr_scheduler_type, training.weight_decay, training.adam_epsilon) == ("linear", 0.0, 1e-6)
    assert (training.max_grad_norm, training.bf16, training.fp16) == (0.0, False, False)


def test_plm_icd_from_scratch_differs_in_its_encoder_and_what_that_needs(tmp_path: Path) -> None:
    whole, small = (
        yaml.safe_load((ROOT / f"configs/ltr-icd/{n}.yaml").read_text()) for n in ("plm-icd", "plm-icd-tiny")
    )
    assert {name for name in whole if whole[name] != small[name]} == {
        "base",
        "channels",
        "learning_rate",
        "warmup_steps",
    }
    model, _, _ = parse(tmp_path, "plm-icd-tiny")
    assert model.channels == model.tiny_width  # the script's is the encoder's width


@pytest.mark.parametrize(
    "flag", ["--text raw", "--loss sum", "--padding_attends false", "--dropout 0.1", "--max_tokens 4096"]
)
def test_what_differs_from_the_script_does_not_bear_its_name(flag: str, tmp_path: Path) -> None:
    assert parse(tmp_path, "plm-icd", *flag.split())[0].system == "label-attention"


@pytest.mark.parametrize(
    ("wrong", "right"), [("kernel", "kernel_size"), ("learnig_rate", "learning_rate"), ("merge_flor", "merge_floor")]
)
def test_an_unknown_key_names_the_nearest(wrong: str, right: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"base: tiny\n{wrong}: 1\n", encoding="utf-8")
    with pytest.raises(InputError, match=f"unknown key '{wrong}' .did you mean '{right}'?"):
        parse(tmp_path, path)
    with pytest.raises(InputError, match=f"no option --{wrong} .did you mean '{right}'?"):
        parse(tmp_path, "tiny", f"--{wrong}", "1")
    with pytest.raises(InputError, match=f"no option '{wrong}' .did you mean '{right}'?"):
        make_options(corpus="c", output_dir="o", **{wrong: 1})


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--kernel_size", "2"], "kernel_size must be odd"),
        (["--beams", "0"], "beams must be at least 1"),
        (["--merge_floor", "1.5"], "merge_floor must lie in"),
        (["--generation_weight", "-1"], "generation_weight must not be negative"),
        (["--holdout", "1"], "holdout must lie in"),
        (["--max_tokens", "many"], "max_tokens"),
        (["--corpus", ""], "--corpus"),
        (["--text", "cml"], "text must be raw or caml, it is 'cml'"),
        (["--loss", "max"], "loss must be sum or mean"),
        (["--padding_attends", "true"], "set ranking to false"),
        (["--initializer_range", "0"], "initializer_range must be positive"),
    ],
)
def test_wrong_values_are_refused_in_a_sentence(flags: list[str], words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        parse(tmp_path, "tiny", *flags)


def test_output_dir_is_asked_for() -> None:
    with pytest.raises(InputError, match="--output_dir"):
        parse_options(["--config", "tiny", "--corpus", "c"])
