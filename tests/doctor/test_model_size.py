"""The size of a base model, from its own files, the table, or a number."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors import safe_open

from concept_icd.doctor.cost_model import has_weights, local_folder, shape_of
from concept_icd.errors import InputError


def stored_parameters(folder: Path) -> int:
    """Weights in the file but for the norms."""
    total = 0
    with safe_open(folder / "model.safetensors", "numpy") as file:
        for name in file.keys():  # noqa: SIM118 (it is no mapping)
            shape = file.get_slice(name).get_shape()
            total += shape[0] * shape[1] if len(shape) == 2 else 0
    return total


def test_tiny_is_counted_from_its_config() -> None:
    folder = local_folder("tiny")
    assert folder is not None
    assert has_weights(folder)
    assert shape_of("tiny").parameters == stored_parameters(folder)


@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_a_folder_is_counted_from_its_config(family: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(family)
    assert shape_of(str(folder)).parameters == stored_parameters(folder)


def test_a_number_of_parameters_scales_depth_and_width() -> None:
    shape = shape_of("someone/unknown-70b", 70e9)
    assert shape.parameters == pytest.approx(70e9, rel=0.1)
    assert shape.layers > 60


def test_an_unknown_model_asks_for_its_size() -> None:
    with pytest.raises(InputError, match="--parameters"):
        shape_of("someone/unknown-70b")


def test_a_config_without_a_size_says_so(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"num_attention_heads": 4, "hidden_size": 8}), encoding="utf-8")
    with pytest.raises(InputError, match="num_hidden_layers"):
        shape_of(str(tmp_path))


def test_parameters_in_billions_are_refused() -> None:
    with pytest.raises(InputError, match="7e9"):
        shape_of("tiny", 8)
