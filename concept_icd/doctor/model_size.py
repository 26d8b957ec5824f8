"""The shape of a base model, from its config.json where it lies on this machine, else from a small table.

It never asks a model hub.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from concept_icd.artifacts import read_json
from concept_icd.errors import InputError


@dataclass(frozen=True)
class ModelShape:
    """A decoder of the Llama family (grouped heads, gated MLP), as its config.json says it.

    Attributes:
        positions: the longest prompt in tokens. source: where the numbers come from, in words.
    """

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    positions: int
    tied: bool
    source: str

    def linear_layers(self) -> dict[str, tuple[int, int]]:
        """Name -> (inputs, outputs) of the linear maps of one layer."""
        attention, grouped = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return {
            "q_proj": (self.hidden, attention),
            "k_proj": (self.hidden, grouped),
            "v_proj": (self.hidden, grouped),
            "o_proj": (attention, self.hidden),
            "gate_proj": (self.hidden, self.intermediate),
            "up_proj": (self.hidden, self.intermediate),
            "down_proj": (self.intermediate, self.hidden),
        }

    @property
    def linear_parameters(self) -> int:
        """Parameters of the linear maps of all layers: what every token is multiplied with."""
        return self.layers * sum(inputs * outputs for inputs, outputs in self.linear_layers().values())

    @property
    def embedding_parameters(self) -> int:
        """Parameters of the token embedding and, where it is not the same, of the LM head."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def parameters(self) -> int:
        """All parameters but the norms."""
        return self.linear_parameters + self.embedding_parameters


#: Models that the shipped configs name, or that CEC tried, from their published config.json.
KNOWN = {
    "meta-llama/Meta-Llama-3-8B": ModelShape(32, 4096, 14336, 32, 8, 128, 128256, 8192, False, "published size"),
    "BioMistral/BioMistral-7B": ModelShape(32, 4096, 14336, 32, 8, 128, 32000, 32768, False, "published size"),
}
#: The shape that a bare number of parameters is scaled from.
_PATTERN = KNOWN["meta-llama/Meta-Llama-3-8B"]


def shape_of(model: str, parameters: float | None = None) -> ModelShape:
    """The shape of a base model.

    Args:
        model: "tiny", a folder or a hub name. parameters: where given, wins: Llama 3 8B scaled in depth and width.

    Raises:
        InputError: the model is not on this machine, and its size is not known.
    """
    if parameters is not None:
        return _scaled(parameters)
    if folder := local_folder(model):
        return _from_config(read_json(folder / "config.json"), str(folder))
    if model in KNOWN:
        return KNOWN[model]
    raise InputError(f"the size of {model!r} is not known on this machine: give --parameters, such as 7e9")


def local_folder(model: str) -> Path | None:
    """The folder of a model on this machine (a path, the shipped one, or the hub's cache), or None."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    shipped = Path(__file__).resolve().parent.parent / "base_models" / "tiny"
    folder = shipped if model == "tiny" else Path(model)
    if (folder / "config.json").is_file():
        return folder
    try:
        cached = try_to_load_from_cache(model, "config.json")
    except HFValidationError:  # a path that is not there is no hub name either
        return None
    return Path(cached).parent if isinstance(cached, str) else None


def has_weights(folder: Path) -> bool:
    """Whether the weights lie beside the config: a cache may hold the config alone."""
    return any(folder.glob("*.safetensors"))


def _from_config(config: dict[str, Any], folder: str) -> ModelShape:
    text = config.get("text_config", config)
    try:
        heads, hidden = text["num_attention_heads"], text["hidden_size"]
        return ModelShape(
            layers=text["num_hidden_layers"],
            hidden=hidden,
            intermediate=text["intermediate_size"],
            heads=heads,
            kv_heads=text.get("num_key_value_heads") or heads,
            head_dim=text.get("head_dim") or hidden // heads,
            vocabulary=text["vocab_size"],
            positions=text["max_position_embeddings"],
            tied=bool(text.get("tie_word_embeddings", False)),
            source="config.json",
        )
    except KeyError as error:
        raise InputError(f"{folder}/config.json does not say {error}: give --parameters, such as 7e9") from error


def _scaled(parameters: float) -> ModelShape:
    """Depth and width grow with the cube root of the size, so that depth x width^2 grows with it."""
    if parameters < 1e5:
        raise InputError(f"--parameters is a count such as 7e9, not {parameters:g}")
    factor = (parameters / _PATTERN.parameters) ** (1 / 3)
    heads = max(1, round(_PATTERN.heads * factor))
    return ModelShape(
        layers=max(1, round(_PATTERN.layers * factor)),
        hidden=round(_PATTERN.hidden * factor),
        intermediate=round(_PATTERN.intermediate * factor),
        heads=heads,
        kv_heads=max(1, heads // 4),
        head_dim=_PATTERN.head_dim,
        vocabulary=round(_PATTERN.vocabulary * factor),
        positions=_PATTERN.positions,
        tied=False,
        source=f"Llama 3 8B scaled to {parameters:.2g} parameters",
    )
