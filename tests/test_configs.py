"""Every shipped config is one that its reader takes: tuning configs by the tuning options, presets by accelerate."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from concept_icd.errors import InputError

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
TUNING = sorted(CONFIGS.glob("*.yaml"))
PRESETS = sorted((CONFIGS / "accelerate").glob("*.yaml"))


def name(path: Path) -> str:
    return path.stem


def parse(config: str | Path, tmp_path: Path, *more: str):  # type: ignore[no-untyped-def]
    from concept_icd.tuning.config import parse_options

    return parse_options(["--config", str(config), "--corpus", "c", "--output_dir", str(tmp_path / "tuned"), *more])


def test_there_are_configs_for_the_cpu_and_for_large_models() -> None:
    assert {"synthetic-tiny", "cmc2007-tiny"} <= set(map(name, TUNING))
    assert {"mimic3-50", "mimic3-rare50", "mimic3-full", "mimic3-clean"} <= set(map(name, TUNING))
    assert {"cpu", "single_gpu", "multi_gpu", "fsdp", "deepspeed_zero2", "deepspeed_zero3"} == set(map(name, PRESETS))


@pytest.mark.parametrize(
    ("preset", "kind", "section", "settings"),
    [
        ("fsdp", "FSDP", "fsdp_config", {"fsdp_version": 2, "fsdp_reshard_after_forward": True}),
        ("deepspeed_zero2", "DEEPSPEED", "deepspeed_config", {"zero_stage": 2}),
        ("deepspeed_zero3", "DEEPSPEED", "deepspeed_config", {"zero_stage": 3}),
    ],
)
def test_sharded_presets_name_their_sharding_in_words_that_accelerate_knows(preset, kind, section, settings):
    """The sharding itself needs GPUs."""
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import launch_command_parser

    config = load_config_from_file(str(CONFIGS / "accelerate" / f"{preset}.yaml"))
    written = getattr(config, section)
    assert config.distributed_type == kind
    assert written.items() >= settings.items()
    known = {action.dest for action in launch_command_parser()._actions}
    assert set(written) <= known


@pytest.mark.parametrize("path", TUNING, ids=name)
def test_tuning_options_are_those_of_the_file(path: Path, tmp_path: Path) -> None:
    concepts, training, model = parse(path, tmp_path)
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert model.model_name_or_path == content["model_name_or_path"]
    assert (model.use_peft, model.lora_r, model.lora_target_modules) == (
        True,
        content["lora_r"],
        content["lora_target_modules"],
    )
    assert concepts.negative_share == content["negative_share"]
    assert training.learning_rate == content["learning_rate"]
    assert training.report_to in ("none", [])  # nothing leaves the machine
    # Heads need scores of notes that an adapter did not see; CodiEsp has dev cases for them.
    assert concepts.folds >= 2 or concepts.holdout > 0 or path.stem.startswith("codiesp9")


@pytest.mark.parametrize("path", TUNING, ids=name)
def test_bare_name_finds_the_shipped_file_and_a_flag_wins(path: Path, tmp_path: Path) -> None:
    assert parse(path.stem, tmp_path, "--lora_r", "3")[2].lora_r == 3


@pytest.mark.parametrize(("wrong", "right"), [("learnig_rate", "learning_rate"), ("fold", "folds"), ("lora", "lora_r")])
def test_unknown_key_names_the_nearest(wrong: str, right: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"model_name_or_path: tiny\n{wrong}: 1\n", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        parse(path, tmp_path)
    assert str(caught.value) == f"the config {path} has an unknown key {wrong!r} (did you mean {right!r}?)"


def test_config_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no config 'no-such'; name one of .*mimic3-50.*, or a YAML file"):
        parse("no-such", tmp_path)


@pytest.mark.parametrize("path", PRESETS, ids=name)
def test_accelerate_takes_the_preset(path: Path) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(path))
    assert config.use_cpu is (path.stem == "cpu")
    assert config.num_processes == yaml.safe_load(path.read_text(encoding="utf-8"))["num_processes"]
    assert config.mixed_precision == ("no" if path.stem == "cpu" else "bf16")


@pytest.mark.parametrize(
    "option",
    [{"load_in_8bit": True}, {"bnb_4bit_quant_type": "fp4"}, {"lora_target_modules": ["lm_head"]}, {"use_peft": False}],
)
def test_an_option_that_scorers_could_not_follow_is_refused(option: dict[str, object], tmp_path: Path) -> None:
    from concept_icd.tuning.config import make_options

    with pytest.raises(InputError):
        make_options(corpus="c", output_dir=str(tmp_path), **option)
