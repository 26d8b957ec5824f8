"""The command itself: its groups, what a start imports, and the names of before."""

import argparse
import json
import subprocess
import sys

import pytest

from concept_icd.cli.main import GROUPS, VERBS, _parser, main
from concept_icd.cli.old_names import VERBS as OLD_VERBS
from concept_icd.cli.old_names import OldOption
from concept_icd.corpora import load_corpus
from concept_icd.medications.folder import load_stays
from concept_icd.progress import say_next

#: Verb, option of before, its values, and where today's option keeps them.
OLD_OPTIONS = [
    ("fit", "--views", ["words", "terms"], "experts"),
    ("score", "--descent", ["descent.json"], "selection"),
    ("medications prepare", "--synthetic", ["50"], "synthetic"),
]


def test_the_help_has_every_verb_in_five_groups(capsys):
    with pytest.raises(SystemExit) as done:
        main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    assert done.value.code == 0
    assert [line.rstrip(":") for line in lines if line.rstrip(":") in GROUPS] == list(GROUPS)
    assert len(GROUPS) == 5
    assert [line.split()[0] for line in lines if line[:3].strip() and line.startswith("  ")][-len(VERBS) :] == [*VERBS]


@pytest.mark.parametrize(("words", "verbs"), [(["--help"], []), (["code", "--help"], ["code"])])
def test_a_start_imports_no_other_verb(words, verbs):
    code = (
        f"import sys\nfrom concept_icd.cli.main import VERBS, main\ntry: main({words})\nexcept SystemExit: pass\n"
        "print([v for v in VERBS if f'concept_icd.cli.{v}'.replace('-', '_') in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr == f"{verbs}\n"


@pytest.mark.parametrize(("old", "new"), OLD_VERBS.items(), ids=lambda words: " ".join(words))
def test_an_old_verb_is_the_new_one_and_says_so(old, new, capsys):
    with pytest.raises(SystemExit) as done:
        main([*old, "--help"])
    said = capsys.readouterr()
    assert done.value.code == 0
    assert said.out.startswith(f"usage: concept-icd {' '.join(new)} ")
    assert said.err == f"concept-icd: `{' '.join(old)}` is now called `{' '.join(new)}`\n"


@pytest.mark.parametrize(("verb", "old", "values", "place"), OLD_OPTIONS)
def test_an_old_option_is_the_new_one_and_says_so(verb, old, values, place, capsys):
    needed = {"fit": "--corpus c --scores s --out o", "score": "--corpus c --tuned t", "medications prepare": "--out o"}
    args = _parser().parse_args([*verb.split(), old, *values, *needed[verb].split()])
    assert getattr(args, place) == {"experts": values, "selection": values[0], "synthetic": 50}[place]
    said = capsys.readouterr()
    new = "concept-icd synth stays" if place == "synthetic" else f"--{place}"
    assert (said.out, said.err) == ("", f"concept-icd: `{old}` is now called `{new}`\n")


def test_every_old_option_is_among_these():
    def options(parser, name=""):
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for verb, sub in action.choices.items():
                    yield from options(sub, f"{name} {verb}".strip())
            elif isinstance(action, OldOption):
                yield name, action.option_strings[0]

    assert sorted(options(_parser())) == sorted((verb, old) for verb, old, *_ in OLD_OPTIONS)


def test_what_an_old_verb_prints_on_stdout_is_json_alone(tmp_path, capsys):
    assert main(["prepare", "synthetic", "--notes", "20", "--out", str(tmp_path / "old"), "--json"]) == 0
    old = capsys.readouterr()
    assert main(["synth", "notes", "--notes", "20", "--out", str(tmp_path / "new"), "--json"]) == 0
    new = capsys.readouterr()
    assert json.loads(old.out)["counts"] == json.loads(new.out)["counts"]
    assert old.err.removesuffix(new.err) == "concept-icd: `prepare synthetic` is now called `synth notes`\n"
    assert load_corpus(tmp_path / "old").notes == load_corpus(tmp_path / "new").notes


def test_old_generated_stays_are_those_of_synth(tmp_path):
    assert main(["prepare", "medications", "--synthetic", "50", "--seed", "3", "--out", str(tmp_path / "old")]) == 0
    assert main(["synth", "stays", "--stays", "50", "--seed", "3", "--out", str(tmp_path / "new")]) == 0
    old, new = (load_stays(tmp_path / name) for name in ("old", "new"))
    assert old.stays.stay_ids == new.stays.stay_ids
    files = ("matrices.safetensors", "stays.parquet", "inputs.parquet", "nodes.parquet")
    assert [(tmp_path / "old" / f).read_bytes() for f in files] == [(tmp_path / "new" / f).read_bytes() for f in files]


@pytest.mark.parametrize(
    ("words", "nearest"),
    [
        (["evalute"], "evaluate"),
        (["ontology", "search", "cough", "--limti=3"], "--limit"),
        (["synth", "nots"], "notes"),
        (["synth", "notes", "--out", "o", "--overwrit", "--sede=3"], "--seed"),
    ],
)
def test_a_mistyped_word_is_told_with_the_nearest(words, nearest, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as done:
        main(words)
    said = capsys.readouterr()
    assert (done.value.code, said.out) == (2, "")
    assert f"(did you mean {nearest!r}?)" in said.err


def test_a_word_near_no_option_gets_no_hint(capsys):
    with pytest.raises(SystemExit):
        main(["ontology", "search", "cough", "--qqqqqqqqq"])
    assert "did you mean" not in capsys.readouterr().err


def test_the_next_command_is_told_on_a_terminal_alone(monkeypatch, capsys):
    for terminal, told in ((True, "concept-icd: next: concept-icd fit --corpus 'my notes'\n"), (False, "")):
        monkeypatch.setattr(sys.stderr, "isatty", lambda terminal=terminal: terminal)
        say_next("concept-icd", "fit", "--corpus", "my notes")
        said = capsys.readouterr()
        assert (said.out, said.err) == ("", told)
