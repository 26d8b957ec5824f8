"""Shell completion: the scripts are real shell, and bash completes verbs, options and choices with them."""

import shutil
import subprocess

import pytest

from concept_icd.cli.main import VERBS, main


def script(shell, capsys):
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


def bash_completes(words, tmp_path, capsys):
    (tmp_path / "complete.sh").write_text(script("bash", capsys))
    asked = (
        f'source {tmp_path}/complete.sh; COMP_WORDS=({" ".join(words)} ""); COMP_CWORD={len(words)}; '
        "$(complete -p concept-icd | sed 's/.*-F \\([^ ]*\\).*/\\1/'); printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_bash_completes_every_verb(tmp_path, capsys):
    assert set(VERBS) <= set(bash_completes(["concept-icd"], tmp_path, capsys))


def test_bash_completes_verbs_within_a_verb_and_choices(tmp_path, capsys):
    assert {"show", "search"} <= set(bash_completes(["concept-icd", "ontology"], tmp_path, capsys))
    assert {"bash", "zsh", "fish"} <= set(bash_completes(["concept-icd", "completion"], tmp_path, capsys))


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_shells_know_every_verb(shell, capsys):
    text = script(shell, capsys)
    assert [verb for verb in VERBS if verb not in text] == []
    if program := shutil.which(shell):
        assert subprocess.run([program, "-n"], input=text, text=True).returncode == 0
