"""A GGUF file as an ordinary model folder: de-quantised to float32, with the tokenizer that the file describes.

transformers reads the file. What it would read wrongly or leave out is refused or mended here. Run as a module, it is
the process of `concept_icd.llm.model_files`: exit code 2, and one sentence on stdout, for a file that cannot be used.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

from concept_icd.errors import InputError
from concept_icd.llm.base_model import INERT, is_out_of_memory
from concept_icd.llm.packing_check import check_kind
from concept_icd.outputs import writing

#: How text is cut before merging, by the name in the file: where nothing but GPT-2's own pattern is wanted.
_AS_GPT2 = (None, "", "default", "gpt-2", "gpt2")
#: The same with each digit apart, which transformers does not know: SmolLM's and StarCoder's kin.
_DIGITS_APART = ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone")
_ADVICE = "take the model's folder of safetensors instead"


def dequantise(file: Path, out: Path) -> None:
    """Writes the model of a GGUF file to the folder `out`, in float32.

    Raises:
        InputError: the file is damaged, of a kind that transformers does not read or that cannot be asked packed
            questions (told before any weight is read), or the disk has too little room.
    """
    import transformers

    with tempfile.TemporaryDirectory() as alone:
        # Alone in its folder, so that nothing that lies beside the file is taken for a part of the model.
        (Path(alone) / "model.gguf").symlink_to(file)
        source: dict[str, Any] = {"pretrained_model_name_or_path": alone, "gguf_file": "model.gguf", **INERT}
        try:
            fields, parameters = _header(file)
            _refuse_what_would_be_read_wrongly(file, fields)
            config = transformers.AutoConfig.from_pretrained(**source)
            check_kind(config)
            if (free := shutil.disk_usage(out).free) < 4 * parameters:
                raise InputError(
                    f"cannot write {file.name} in float32: it takes {4 * parameters / 1e9:.2f} GB, and "
                    f"{free / 1e9:.2f} GB are free in {out.parent}: free some, or name a folder on another disk with "
                    "CONCEPT_ICD_MODELS"
                )
            tokenizer = _tokenizer(source, fields)
            quantised, info = transformers.AutoModelForCausalLM.from_pretrained(
                **source, dtype=torch.float32, output_loading_info=True
            )
            if lacking := sorted({*info["missing_keys"], *(str(name) for name in info["mismatched_keys"])}):
                raise ValueError(f"weights are missing or of another shape, such as {lacking[0]}")
        except InputError:
            raise
        except Exception as error:  # a damaged file can trip the reader in any way
            if is_out_of_memory(error):
                raise InputError(f"{file.name} does not fit into memory: it takes 8 bytes a parameter") from error
            reason = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
            raise InputError(
                f"cannot read {file.name} ({reason}): it is damaged, or no model for transformers"
            ) from error
    _save(quantised, tokenizer, out, file)


def _header(file: Path) -> tuple[dict[str, Any], int]:
    """The settings in the file, without its lists but for the tensors' names, and how many parameters it has."""
    from gguf import GGUFReader

    reader = GGUFReader(file)
    fields = {name: field.contents() for name, field in reader.fields.items() if len(field.data) == 1}
    names = {tensor.name: math.prod(map(int, tensor.shape)) for tensor in reader.tensors}
    return {**fields, "tensors": frozenset(names)}, sum(names.values())


def _refuse_what_would_be_read_wrongly(file: Path, fields: dict[str, Any]) -> None:
    if int(fields.get("split.count", 1)) > 1:
        raise InputError(f"{file.name} is one part of a divided model: join the parts first (llama-gguf-split --merge)")
    kind = fields["general.architecture"]
    stretched = fields.get(f"{kind}.rope.scaling.type", "none") != "none" or f"{kind}.rope.scale_linear" in fields
    if kind != "gpt-oss" and (stretched or any(name.startswith("rope_f") for name in fields["tensors"])):
        raise InputError(
            f"{file.name} scales its rotary positions, which transformers does not take over from GGUF files: {_ADVICE}"
        )


def _tokenizer(source: dict[str, Any], fields: dict[str, Any]) -> Any:
    """The file's tokenizer. Whether texts begin or end with a special token, transformers leaves to be said."""
    import transformers
    from tokenizers import pre_tokenizers

    cut, sentencepiece = fields.get("tokenizer.ggml.pre"), fields.get("tokenizer.ggml.model") == "llama"
    # llama.cpp's own defaults, where the file does not say.
    begins = fields.get("tokenizer.ggml.add_bos_token", sentencepiece or cut in ("llama-bpe", "llama3", "llama-v3"))
    ends = fields.get("tokenizer.ggml.add_eos_token", False)
    tokenizer = transformers.AutoTokenizer.from_pretrained(
        **source, add_bos_token=bool(begins), add_eos_token=bool(ends)
    )
    backend = tokenizer.backend_tokenizer
    if fields.get("tokenizer.ggml.model") != "gpt2":
        return tokenizer
    if cut in _DIGITS_APART:
        digits = pre_tokenizers.Digits(individual_digits=True)
        backend.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    elif cut not in (*_AS_GPT2, *GGUF_PRE_TOKENIZER_SPLITS):
        raise InputError(f"the file cuts text into words as {cut!r}, which is not known here: {_ADVICE}")
    return tokenizer


@torch.inference_mode()
def _save(quantised: Any, tokenizer: Any, out: Path, file: Path) -> None:
    """Saves the model and looks whether what was saved answers as what was read."""
    import transformers

    config = quantised.config
    del config.quantization_config  # a model that says that it is quantised cannot be saved
    config._name_or_path = ""
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    model.load_state_dict(quantised.state_dict(), assign=True)
    model.tie_weights()
    model.generation_config = transformers.GenerationConfig.from_model_config(config)
    with writing(out):
        model.save_pretrained(out)
        tokenizer.save_pretrained(out)
        _leave_out(out / "config.json", "transformers_version", "_name_or_path")
        _leave_out(out / "generation_config.json", "transformers_version")
        _leave_out(out / "tokenizer_config.json", "is_local", "local_files_only", "name_or_path")
    del model
    some = torch.arange(3, 35)[None] % config.get_text_config().vocab_size
    expected = quantised(input_ids=some).logits
    if not expected.isfinite().all():
        raise InputError(f"{file.name} is damaged: its answers are no numbers")
    saved = transformers.AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32, use_safetensors=True, **INERT)
    if not torch.equal(saved(input_ids=some).logits, expected):
        raise RuntimeError(f"{file.name}: the folder answers otherwise than the file")


def _leave_out(path: Path, *names: str) -> None:
    """Takes out what is not the model's own, so that the folder is the same wherever it was made."""
    if path.is_file():
        kept = {name: value for name, value in json.loads(path.read_text()).items() if name not in names}
        path.write_text(json.dumps(kept, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    try:
        dequantise(Path(sys.argv[1]), Path(sys.argv[2]))
    except InputError as error:
        print(error)
        sys.exit(2)
