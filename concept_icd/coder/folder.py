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

It knows the parts of a coder, files and checks; how a coder uses its parts stands in `coder.coder`.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from concept_icd.artifacts import hash_of, read_json, sha256, write_json, write_manifest
from concept_icd.errors import InputError
from concept_icd.experts.expert import Expert, experts_hash
from concept_icd.experts.kinds import load_expert
from concept_icd.heads.fitting import Heads
from concept_icd.heads.lexicon import Lexicon
from concept_icd.llm.prompts import PromptTemplate
from concept_icd.llm.reference import ModelReference, adapter_files, members_of
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.outputs import new_folder, writing
from concept_icd.records import OneLine
from concept_icd.scoring.selection import FILE as SELECTION
from concept_icd.scoring.selection import SelectionRule
from concept_icd.scoring.specs import checked_settings

#: Raised when the folder's form changes, so that another version says so instead of misreading. 3: learned orders.
FORMAT = 3
LEXICON = "lexicon.json"
#: The coders that travel with the package, one folder each.
SHIPPED = Path(__file__).resolve().parents[1] / "coders"


@dataclass(frozen=True, eq=False, repr=False)
class StoredCoder(OneLine):
    """The parts of a coder, which are what its folder holds.

    Attributes:
        model: the base model and adapter, with what proves that they are those of the fit.
        scorer_settings: "scorer", what scored the notes of the fit ("packed" where it is not said; see
            `concept_icd.scoring.specs`), and how it read the notes, such as max_length; see `checked_settings`.
        out_of_fold: the heads were fitted on out-of-fold scores; False is stamped on every result.
        classification: name of the ontology of the codes.
        lexicon: what the learned order reads of a note's text; None where it reads nothing, or nothing was learnt.
        selection: which concepts a note is asked about, as in the scores of the fit; None: all.
        experts: what is stacked with the scores; their columns are the last of `concepts`.
    """

    concepts: ConceptSet
    heads: Heads
    prompt: PromptTemplate
    model: ModelReference
    scorer_settings: Mapping[str, Any] = field(default_factory=dict)
    out_of_fold: bool = True
    classification: str = "icd9cm"
    lexicon: Lexicon | None = None
    selection: SelectionRule | None = None
    experts: tuple[Expert, ...] = ()

    def __repr__(self) -> str:
        about = f"{len(self.concepts.codes)} codes of {self.classification}, model {self.model}, hash {self.hash[:12]}"
        return f"{type(self).__name__}({about if len(about) <= 100 else f'{about[:95]} ...'})"

    @cached_property
    def hash(self) -> str:
        """Hex digest of everything that decides a result.

        In a folder it is a checksum against damage, no protection: who changes the folder can change it too. What
        protects is to keep it elsewhere and to ask for it, see `from_pretrained`.
        """
        parts = [self.concepts.hash, self.prompt.hash, self.heads.hash, self.model.hash, dict(self.scorer_settings)]
        optional = [part.hash for part in (self.lexicon, self.selection) if part is not None]
        optional += [experts_hash(self.experts)] if self.experts else []
        return hash_of([*parts, self.out_of_fold, self.classification, *optional])

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        overwrite: bool = False,
        inputs: Mapping[str, str] | None = None,
        config: Mapping[str, Any] | None = None,
        seed: int | None = None,
        seconds: float = 0.0,
    ) -> None:
        """Writes the coder as one folder, by rename.

        Args:
            inputs, config, seed, seconds: of `artifacts.write_manifest`, where known.

        Raises:
            InputError: the folder exists and `overwrite` is False, or it cannot be written.
        """
        with new_folder(folder, "fit", overwrite=overwrite) as staging:
            settings = {
                "format": FORMAT,
                "hash": self.hash,
                "model": self.model.name,
                "model_fingerprint": self.model.fingerprint,
                "adapter_sha256": self.model.adapter_sha256,
                "scorer_settings": dict(self.scorer_settings),
                "out_of_fold": self.out_of_fold,
                "classification": self.classification,
                "views": [expert.level for expert in self.experts],
                "files": {name: sha256(staging / name) for name in self._write_parts(staging)},
            }
            write_json(staging / "coder.json", settings)
            write_manifest(staging, "fit", inputs=inputs or {}, config=config or {}, seed=seed, seconds=seconds)

    def _write_parts(self, folder: Path) -> list[str]:
        """Writes what is not in coder.json; the names of the files whose checksums it keeps."""
        self.concepts.save(folder / "concepts.json")
        self.prompt.save(folder / "prompt.yaml")
        self.heads.save(folder)
        files = ["concepts.json", "prompt.yaml", "heads.json"]
        for name, part in ((LEXICON, self.lexicon), (SELECTION, self.selection)):
            if part is not None:
                part.save(folder / name)
                files.append(name)
        for expert in self.experts:
            own = folder / expert.level
            own.mkdir()
            expert.save(own)
            files += sorted(f"{expert.level}/{path.name}" for path in own.iterdir())
        if self.model.adapter is not None:
            with writing(folder / "adapter"):
                members = members_of(self.model.adapter)
                for member in members:
                    own = folder / "adapter" / (member.name if len(members) > 1 else "")
                    own.mkdir(parents=True)
                    for name in adapter_files(member):
                        shutil.copyfile(member / name, own / name)
        return files

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, *, model: str | Path | None = None, expected_hash: str | None = None
    ) -> Self:
        """Reads a folder that `save_pretrained` wrote; the model itself is loaded when first used.

        A folder is data: nothing in it is run, and no address in it is asked. That it is the folder you mean is known
        only where you say its hash.

        Args:
            folder: or the name of a coder in the package: "radiology".
            model: where the base model is now, if it has moved; it must be the same model.
            expected_hash: `hash` of the coder that is meant, or its first digits, 12 at the least.

        Raises:
            InputError: no such folder, a file of it missing or damaged, another format version, or another coder.
        """
        folder = _shipped(folder)
        path = folder / "coder.json"
        if not path.is_file():
            raise InputError(
                f"there is no coder in {folder} (no coder.json): `radiology` is in the package, `concept-icd demo` "
                "makes a small one, `concept-icd fit` one from your own scores"
            )
        settings = read_json(path)
        found = settings.get("format") if isinstance(settings, dict) else None
        if found != FORMAT:
            raise InputError(f"{folder} is a coder of format {found}, this version reads {FORMAT}: fit it again")
        try:
            _require_files(folder, settings["files"])
            coder = cls._read_parts(folder, settings)
            unchanged = coder.hash == settings["hash"]
        except InputError as error:
            raise InputError(f"{folder}: {error}") from error
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise InputError(f"{path} is damaged ({type(error).__name__} on loading): fit the coder again") from error
        if not unchanged:
            raise InputError(f"{path} was changed after the coder was fitted: fit it again")
        if expected_hash is not None and (len(expected_hash) < 12 or not coder.hash.startswith(expected_hash.lower())):
            raise InputError(f"{folder} is another coder than the one that was asked for: its hash is {coder.hash}")
        return (
            coder if model is None else replace(coder, model=replace(coder.model, name=str(model), from_folder=False))
        )

    @classmethod
    def _read_parts(cls, folder: Path, settings: Mapping[str, Any]) -> Self:
        files, adapter_sha256 = settings["files"], settings["adapter_sha256"]
        concepts = ConceptSet.load(folder / "concepts.json")
        adapter = folder / "adapter" if adapter_sha256 else None
        return cls(
            concepts,
            Heads.load(folder),
            PromptTemplate.load(folder / "prompt.yaml"),
            ModelReference(settings["model"], settings["model_fingerprint"], adapter, adapter_sha256, from_folder=True),
            checked_settings(settings["scorer_settings"]),
            settings["out_of_fold"],
            settings["classification"],
            Lexicon.load(folder / LEXICON) if LEXICON in files else None,
            SelectionRule.load(folder / SELECTION) if SELECTION in files else None,
            tuple(load_expert(level, folder / level, concepts) for level in settings.get("views", ())),
        )


def _require_files(folder: Path, files: Mapping[str, str]) -> None:
    """Every file must lie in the folder and have its checksum."""
    for name, digest in files.items():
        if ".." in Path(name).parts or Path(name).is_absolute():
            raise InputError(f"{folder / 'coder.json'} names a file outside the folder: {name!r}")
        if not (folder / name).is_file() or sha256(folder / name) != digest:
            raise InputError(f"{folder / name} is missing or damaged: fit the coder again")


def _shipped(name_or_folder: str | Path) -> Path:
    """A shipped coder by its bare name, unless a coder lies there; else the folder."""
    folder = Path(name_or_folder)
    shipped = SHIPPED / folder
    return shipped if len(folder.parts) == 1 and not folder.is_dir() and shipped.is_dir() else folder
