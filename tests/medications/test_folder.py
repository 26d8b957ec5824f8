"""The prepared folder: back as it was, damage told, and the command from files to words."""

import json

import numpy as np
import pytest

from concept_icd.cli.main import main
from concept_icd.errors import InputError
from concept_icd.medications.folder import MATRICES, load_stays, save_stays
from concept_icd.medications.synthetic import synthetic_stays
from tests.corpora.mimic3.hand_made import write_tables
from tests.medications.omop import omop_tables, write_omop


@pytest.fixture(scope="module")
def made():
    return synthetic_stays(40, seed=3)


def save(folder, made, **options):
    save_stays(folder, made.stays, made.targets, inputs={}, config={"source": "synthetic"}, **options)


def test_a_folder_comes_back_as_it_was(tmp_path, made):
    save(tmp_path / "stays", made, seed=3, counts={"stays": 40})
    found = load_stays(tmp_path / "stays")
    for name in ("stay_ids", "patient_ids", "input_names", "wards"):
        assert getattr(found.stays, name) == getattr(made.stays, name)
    for name in ("nodes", "levels"):
        assert getattr(found.targets, name) == getattr(made.targets, name)
    assert np.array_equal(found.targets.parents, made.targets.parents)
    assert np.array_equal(found.targets.billed, made.targets.billed)
    assert found.targets.gold.dtype == bool
    assert np.array_equal(found.targets.gold.toarray(), made.targets.gold.toarray())
    assert found.stays.inputs.dtype == np.float32
    assert np.array_equal(found.stays.inputs.toarray(), made.stays.inputs.toarray())
    assert (found.manifest["seed"], found.manifest["counts"]) == (3, {"stays": 40})


def test_a_damaged_folder_is_refused(tmp_path, made):
    save(tmp_path / "stays", made)
    with pytest.raises(InputError, match="exists already"):
        save(tmp_path / "stays", made)
    path = tmp_path / "stays" / MATRICES
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(InputError, match=f"{MATRICES} is missing or was changed"):
        load_stays(tmp_path / "stays")
    with pytest.raises(InputError, match="no manifest"):
        load_stays(tmp_path)
    save(tmp_path / "old", made)
    manifest = json.loads((tmp_path / "old" / "manifest.json").read_text())
    (tmp_path / "old" / "manifest.json").write_text(json.dumps(manifest | {"format_version": 0}))
    with pytest.raises(InputError, match="another version of concept-icd"):
        load_stays(tmp_path / "old")


def test_the_command_reads_mimic_and_omop_alike(tmp_path, capsys):
    pytest.importorskip("duckdb")
    prepare = ["prepare", "medications"]
    mimic = write_tables(tmp_path / "mimic")
    assert main([*prepare, "--mimic-dir", str(mimic), "--out", str(tmp_path / "a")]) == 0
    said = capsys.readouterr().out
    assert "a: 6 stays of 3 patients, 2 ingredients" in said
    assert "stays above 89 years: 2: moved to about 300" in said
    assert "stays without drugs: 5: kept" in said
    assert "stays without a code of the tree: 1: kept, with no target" in said
    assert "published" not in said  # nothing is published about six stays
    omop = write_omop(tmp_path / "omop", omop_tables(mimic))
    assert main([*prepare, "--omop-dir", str(omop), "--out", str(tmp_path / "b"), "--json"]) == 0
    counts = json.loads(capsys.readouterr().out)["counts"]
    assert (counts["stays"], counts["ingredients"], counts["stays with drugs"]) == (6, 2, 1)
    ours, theirs = load_stays(tmp_path / "a"), load_stays(tmp_path / "b")
    assert np.array_equal(ours.stays.inputs.toarray(), theirs.stays.inputs.toarray())
    assert ours.targets.nodes == theirs.targets.nodes


def test_the_command_leaves_what_is_complete_and_refuses_the_rest(tmp_path, capsys):
    pytest.importorskip("duckdb")
    mimic, out = write_tables(tmp_path / "mimic"), tmp_path / "out"
    command = ["prepare", "medications", "--mimic-dir", str(mimic), "--out", str(out)]
    assert main(command) == 0
    written = (out / "manifest.json").stat().st_mtime_ns
    assert main(command) == 0
    assert (out / "manifest.json").stat().st_mtime_ns == written
    write_tables(mimic, PRESCRIPTIONS=[("HADM_ID", "DRUG"), (101, "Aspirin")])
    assert main(command) == 2
    assert "is not what these tables make" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 0
    assert "drug:aspirin" in load_stays(out).stays.input_names
    assert main([*command, "--memory", "1GB"]) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mimic", "out"]  # nothing half-written


def test_the_command_generates_stays(tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["prepare", "medications", "--synthetic", "30", "--seed", "5", "--out", str(out)]) == 0
    assert "30 stays of 24 patients, 1,164 ingredients" in capsys.readouterr().out
    again = synthetic_stays(30, seed=5)
    assert np.array_equal(load_stays(out).targets.gold.toarray(), again.targets.gold.toarray())
    assert main(["prepare", "medications", "--synthetic", "0", "--out", str(tmp_path / "none")]) == 2


def test_the_demo_from_files_to_words(shared_data, tmp_path, capsys):
    pytest.importorskip("duckdb")
    command = ["prepare", "medications", "--mimic-dir", str(shared_data / "mimic3_demo"), "--out", str(tmp_path / "o")]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "129 stays of 100 patients, 357 ingredients, 1,142 nodes of the tree (581 of them billed)" in said
    assert "ok      rows of PRESCRIPTIONS: 10,398 (published: 10,398)" in said
    assert "stays without drugs: 7" in said
