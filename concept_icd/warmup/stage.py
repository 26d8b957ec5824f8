"""The warm-up stage: any causal LM, by LoRA or with all its weights.

OUT/checkpoint/   while it runs
OUT/adapter/      the LoRA, for `finetune --start_from` (not with --full)
OUT/model/        the model with it, for `finetune --model_name_or_path` (not with --load_in_4bit)
OUT/figures.json  the held-out question AUC before and after, tokens, minutes
OUT/manifest.json when all is done
"""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from concept_icd.artifacts import read_record, write_json, write_manifest
from concept_icd.errors import InputError
from concept_icd.llm.base_model import load_model, with_adapter
from concept_icd.llm.packed_pass import accept_packing
from concept_icd.llm.prompts import PromptTemplate, TokenizedPrompt
from concept_icd.llm.reference import fingerprint_of
from concept_icd.outputs import MANIFEST, new_folder, writing
from concept_icd.progress import tell
from concept_icd.scoring.packed import PackedScorer
from concept_icd.tuning.runs import begun_together, on_main
from concept_icd.warmup.data import read_open_text, text_streams
from concept_icd.warmup.questions import read_question_maker
from concept_icd.warmup.training import Learner, Warmup, WarmupOptions, keep_large_blocks

#: Options that say where and how often; all others decide what is learnt.
_PLACES = ("out", "data_dir", "checkpoint_every", "evaluate_every", "held_out_notes")
FIGURES = "figures.json"


@dataclass
class WarmupArguments(WarmupOptions):
    """What is warmed up, and with what."""

    model_name_or_path: str | None = field(default=None, metadata={"help": "Base model: a name, folder or GGUF file."})
    out: str | None = field(default=None, metadata={"help": "Folder of the adapter and the model."})
    data_dir: str | None = field(default=None, metadata={"help": "Folder of public corpora (see CONTRIBUTING.md): "
        "icd9cm/nchs_2011, and of open_medical_text, codiesp and cmc2007 what there is; without it, made-up notes "
        "with the titles of codes alone."})  # fmt: skip
    prompt: str = field(default="concept-title", metadata={"help": "Prompt template: a name or a YAML file."})
    full: bool = field(default=False, metadata={"help": "All weights learn, without a LoRA."})
    lora_r: int = field(default=32, metadata={"help": "Rank."})
    lora_alpha: int = field(default=32, metadata={"help": "Scale: alpha / r."})
    lora_target_modules: list[str] = field(
        default_factory=lambda: ["all-linear"], metadata={"help": "Layers with a LoRA; all-linear: but the LM head."}
    )
    dtype: str | None = field(default=None, metadata={"help": "Of the base weights; default: float32 on the CPU, "
                                                              "bfloat16 on a GPU."})  # fmt: skip
    autocast: str = field(default="auto", metadata={"help": "bfloat16 where it is safe: auto (where the processor has "
                                                            "instructions for it), yes, no."})  # fmt: skip
    load_in_4bit: bool = field(default=False, metadata={"help": "NF4, as in QLoRA."})
    gradient_checkpointing: bool = field(default=False, metadata={"help": "Trade time for memory."})
    max_length: int | None = field(default=None, metadata={"help": "Most tokens of a prompt; default: the model's."})
    synthetic_notes: int = field(default=500, metadata={"help": "Notes of the package's generator to add."})

    def __post_init__(self) -> None:
        if not self.model_name_or_path:
            raise InputError("name the model to warm up with --model_name_or_path")
        if not self.out:
            raise InputError("name the folder of the result with --out")
        if self.autocast not in ("auto", "yes", "no"):
            raise InputError(f"autocast must be auto, yes or no, it is {self.autocast!r}")
        if self.full and self.load_in_4bit:
            raise InputError("weights in 4 bits do not learn: leave out --full or --load_in_4bit")
        for name in (
            "steps",
            "notes",
            "lora_r",
            "checkpoint_every",
            "evaluate_every",
            "rows",
            "row_tokens",
            "held_out_notes",
        ):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, it is {getattr(self, name)}")
        if self.learning_rate <= 0:
            raise InputError(f"learning_rate must be above 0, it is {self.learning_rate}")


def warm_up(arguments: WarmupArguments) -> Path:
    """Runs the stage; the same command goes on after a kill. Returns the folder OUT.

    Raises:
        InputError: OUT is finished or belongs to a run with other options, or a model or a file cannot be read.
    """
    out = Path(str(arguments.out))
    PartialState(cpu=not torch.cuda.is_available())  # without being told, accelerate joins processes on GPUs alone
    if (out / MANIFEST).is_file():
        raise InputError(f"{out} is finished; name another folder or delete it to warm up again")
    keep_large_blocks()
    base = fingerprint_of(str(arguments.model_name_or_path))
    with begun_together(out, lambda: (out / "checkpoint").is_dir(), (MANIFEST, FIGURES)), writing(out):
        text = read_open_text(arguments.data_dir, arguments.synthetic_notes, arguments.seed)
        maker = read_question_maker(arguments.data_dir, text, arguments.seed)
        options = dataclasses.asdict(arguments)
        made_of = {name: value for name, value in options.items() if name not in _PLACES}
        made_of |= {"base": base, "sources": text.counts}
        run = Warmup(arguments, maker, text_streams(text, maker.terms), out, partial(begin, arguments), made_of)
        started = run.evaluate() if run.step == 0 else None
        if started and run.processes.is_main_process:
            _log(f"held out at the start: {started}")
            write_json(out / FIGURES, {"held_out_at_start": started})
        figures = run.run(_log)
        run.processes.wait_for_everyone()
        if run.processes.is_main_process:
            _finish(out, arguments, run, figures)
    run.processes.wait_for_everyone()
    return out


def begin(arguments: WarmupArguments, checkpoint: Path | None) -> Learner:
    """What a warm-up begins with, or goes on with from a checkpoint.

    Raises:
        InputError: the model cannot be loaded or packed, or lacks the layers that are to have a LoRA.
    """
    state = PartialState()
    torch.manual_seed(arguments.seed)  # LoRA draws its first weights, the same in every process
    device = state.device.type if state.num_processes == 1 else str(state.device)
    loaded = load_model(
        checkpoint if checkpoint and arguments.full else str(arguments.model_name_or_path),
        dtype=arguments.dtype,
        device=device,
        load_in_4bit=arguments.load_in_4bit,
    )
    model, tokenizer = loaded.model, loaded.tokenizer
    limit = min(arguments.max_length or loaded.max_length, loaded.max_length)
    prompt = TokenizedPrompt(PromptTemplate.load(arguments.prompt), tokenizer, limit)
    on_main(lambda: _refuse_what_cannot_be_packed(loaded, prompt))
    if arguments.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
    if not arguments.full:
        model = _with_lora(model, arguments, checkpoint)
        accept_packing(model)
    learning = [weights for weights in model.parameters() if weights.requires_grad]
    optimizer = torch.optim.AdamW(
        learning, lr=arguments.learning_rate, betas=(0.9, 0.98), weight_decay=arguments.weight_decay
    )

    def save(folder: Path) -> None:
        model.save_pretrained(folder, safe_serialization=True)
        (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty model card
        tokenizer.save_pretrained(folder)

    return Learner(model.train(), prompt, [optimizer], save, _autocast(arguments.autocast, state.device.type))


def _refuse_what_cannot_be_packed(loaded: Any, prompt: TokenizedPrompt) -> None:
    PackedScorer(loaded, prompt)


def _with_lora(model: Any, arguments: WarmupArguments, checkpoint: Path | None) -> Any:
    import peft

    if checkpoint:
        return with_adapter(model, str(arguments.model_name_or_path), checkpoint, learns=True)
    targets: str | list[str] = arguments.lora_target_modules
    config = peft.LoraConfig(
        r=arguments.lora_r,
        lora_alpha=arguments.lora_alpha,
        target_modules="all-linear" if targets == ["all-linear"] else targets,
        task_type="CAUSAL_LM",
    )
    try:
        if arguments.load_in_4bit:
            model = peft.prepare_model_for_kbit_training(model, arguments.gradient_checkpointing)
        return peft.get_peft_model(model, config)
    except ValueError as error:  # such as LoRA modules that the model lacks
        raise InputError(f"the options do not fit the model: {' '.join(str(error).split())}") from error


def _autocast(wish: str, device: str) -> bool:
    if wish != "auto":
        return wish == "yes"
    if device == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported())
    return device == "cuda" and torch.cuda.is_bf16_supported()


def _finish(out: Path, arguments: WarmupArguments, run: Warmup, figures: dict[str, float]) -> None:
    """Writes what `finetune` starts from, then the figures, last the manifest."""
    model = run.model
    if not arguments.full:
        if not (out / "adapter").is_dir():
            with new_folder(out / "adapter") as staging:
                model.save_pretrained(staging, safe_serialization=True)
                (staging / "README.md").unlink(missing_ok=True)
        if arguments.load_in_4bit:
            _log("weights in 4 bits are not merged: finetune takes the adapter, with --start_from")
        else:
            model = model.merge_and_unload()
    if not arguments.load_in_4bit:
        with new_folder(out / "model", "model", overwrite=True) as staging:
            model.save_pretrained(staging, safe_serialization=True)
            run.tokenizer.save_pretrained(staging)
    write_json(
        out / FIGURES,
        read_record(out / FIGURES)
        | {
            "held_out": figures,
            "options": run.made_of,
            "tokens": run.tokens * run.processes.num_processes,
            "minutes": round(run.seconds / 60, 1),
        },
    )
    write_manifest(
        out,
        "warmup",
        inputs={"base model": run.made_of["base"] or str(arguments.model_name_or_path)},
        config=run.made_of,
        seed=arguments.seed,
        seconds=run.seconds,
    )
    shutil.rmtree(out / "checkpoint", ignore_errors=True)
    _log(f"held out: {figures}")


def _log(line: str) -> None:
    if PartialState().is_main_process:
        tell(line)
