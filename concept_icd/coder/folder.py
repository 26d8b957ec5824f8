"""A coder as a folder: everything of it but the base model, which it names and recognises.

    coder.json         format, base model, scorer settings, hashes
    concepts.json      the concept set
    prompt.yaml        the words around note and concept
    adapter/           LoRA weights as PEFT writes them, and learned question tokens, if any; where the scores of
                       several adapters are averaged, a folder of each
    heads.json, heads.safetensors
    lexicon.json       terms of codes in notes, if the order was learnt with them
    descent.json       which concepts a note is asked about, if not all
    drugs/, terms/, words/  the experts that are stacked with the scores, if any
    manifest.json      what made the folder

It knows files and checks; how a coder works stands in `coder`.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from concept_icd.artifacts import read_json, sha256, write_json, write_manifest
from concept_icd.coder.coder import ConceptCoder
from concept_icd.errors import InputError
from concept_icd.experts.kinds import load_expert
from concept_icd.heads.fitting import Heads
from concept_icd.heads.lexicon import Lexicon
from concept_icd.llm.prompts import PromptTemplate
from concept_icd.llm.reference import ModelReference, adapter_files, members_of
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.outputs import new_folder, writing
from concept_icd.scoring.selection import FILE as DESCENT
from concept_icd.scoring.selection import SelectionRule
from concept_icd.scoring.specs import checked_settings

#: Raised when the folder's form changes, so that another version says so instead of misreading. 3: learned orders.
FORMAT = 3
LEXICON = "lexicon.json"
#: The coders that travel with the package, one folder each.
SHIPPED = Path(__file__).resolve().parents[1] / "coders"


def write_coder(
    coder: ConceptCoder,
    folder: str | Path,
    *,
    overwrite: bool = False,
    inputs: Mapping[str, str] | None = None,
    config: Mapping[str, Any] | None = None,
    seed: int | None = None,
    seconds: float = 0.0,
) -> None:
    """See `ConceptCoder.save_pretrained`."""
    with new_folder(folder, "fit", overwrite=overwrite) as staging:
        coder.concepts.save(staging / "concepts.json")
        coder.prompt.save(staging / "prompt.yaml")
        coder.heads.save(staging)
        files = ["concepts.json", "prompt.yaml", "heads.json"]
        if coder.lexicon is not None:
            coder.lexicon.save(staging / LEXICON)
            files.append(LEXICON)
        if coder.selection is not None:
            coder.selection.save(staging / DESCENT)
            files.append(DESCENT)
        for expert in coder.experts:
            (staging / expert.level).mkdir()
            expert.save(staging / expert.level)
            files += sorted(f"{expert.level}/{path.name}" for path in (staging / expert.level).iterdir())
        if coder.model.adapter is not None:
            with writing(staging / "adapter"):
                members = members_of(coder.model.adapter)
                for member in members:
                    own = staging / "adapter" / (member.name if len(members) > 1 else "")
                    own.mkdir(parents=True)
                    for name in adapter_files(member):
                        shutil.copyfile(member / name, own / name)
        write_json(
            staging / "coder.json",
            {
                "format": FORMAT,
                "hash": coder.hash,
                "model": coder.model.name,
                "model_fingerprint": coder.model.fingerprint,
                "adapter_sha256": coder.model.adapter_sha256,
                "scorer_settings": dict(coder.scorer_settings),
                "out_of_fold": coder.out_of_fold,
                "classification": coder.classification,
                "views": [expert.level for expert in coder.experts],
                "files": {name: sha256(staging / name) for name in files},
            },
        )
        write_manifest(staging, "fit", inputs=inputs or {}, config=config or {}, seed=seed, seconds=seconds)


def read_coder(
    folder: str | Path, *, model: str | Path | None = None, expected_hash: str | None = None
) -> ConceptCoder:
    """See `ConceptCoder.from_pretrained`."""
    folder = _shipped(folder)
    path = folder / "coder.json"
    if not path.is_file():
        raise InputError(
            f"there is no coder in {folder} (no coder.json): `radiology` is in the package, `concept-icd demo` makes "
            "a small one, `concept-icd fit` one from your own scores"
        )
    settings = read_json(path)
    found = settings.get("format") if isinstance(settings, dict) else None
    if found != FORMAT:
        raise InputError(f"{folder} is a coder of format {found}, this version reads {FORMAT}: fit it again")
    try:
        for name, digest in settings["files"].items():
            if ".." in Path(name).parts or Path(name).is_absolute():
                raise InputError(f"{path} names a file outside the folder: {name!r}")
            if not (folder / name).is_file() or sha256(folder / name) != digest:
                raise InputError(f"{folder / name} is missing or damaged: fit the coder again")
        adapter_sha256 = settings["adapter_sha256"]
        concepts = ConceptSet.load(folder / "concepts.json")
        coder = ConceptCoder(
            concepts,
            Heads.load(folder),
            PromptTemplate.load(folder / "prompt.yaml"),
            ModelReference(
                settings["model"],
                settings["model_fingerprint"],
                folder / "adapter" if adapter_sha256 else None,
                adapter_sha256,
                from_folder=True,
            ),
            checked_settings(settings["scorer_settings"]),
            settings["out_of_fold"],
            settings["classification"],
            Lexicon.load(folder / LEXICON) if LEXICON in settings["files"] else None,
            selection=SelectionRule.load(folder / DESCENT) if DESCENT in settings["files"] else None,
            experts=tuple(load_expert(level, folder / level, concepts) for level in settings.get("views", ())),
        )
        unchanged = coder.hash == settings["hash"]
    except InputError as error:
        raise InputError(f"{folder}: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} is damaged ({type(error).__name__} on loading): fit the coder again") from error
    if not unchanged:
        raise InputError(f"{path} was changed after the coder was fitted: fit it again")
    if expected_hash is not None and (len(expected_hash) < 12 or not coder.hash.startswith(expected_hash.lower())):
        raise InputError(f"{folder} is another coder than the one that was asked for: its hash is {coder.hash}")
    return coder if model is None else replace(coder, model=replace(coder.model, name=str(model), from_folder=False))


def _shipped(name_or_folder: str | Path) -> Path:
    """A shipped coder by its bare name, unless a coder lies there; else the folder."""
    folder = Path(name_or_folder)
    shipped = SHIPPED / folder
    return shipped if len(folder.parts) == 1 and not folder.is_dir() and shipped.is_dir() else folder
