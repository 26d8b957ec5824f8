"""Nothing leaves the machine unless the user asks for it and says that it may; a real server stands in for the hub."""

from __future__ import annotations

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import huggingface_hub
import pytest

from concept_icd.baselines.ltr_icd.config import make_options as ltr_icd_options
from concept_icd.corpora import save_corpus, synthetic_notes
from concept_icd.errors import InputError
from concept_icd.tuning.config import make_options, parse_options
from concept_icd.tuning.finetune import finetune


@pytest.fixture
def hub(monkeypatch):
    """A hub on this machine: what repositories were made and what files were committed to them."""

    class Hub(BaseHTTPRequestHandler):
        made: ClassVar[list[dict]] = []
        files: ClassVar[dict[str, bytes]] = {}
        authorised: ClassVar[set[str | None]] = set()

        def log_message(self, *_):
            pass

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            self.authorised.add(self.headers["Authorization"])
            status, said = 200, {}
            if self.path == "/api/repos/create":
                Hub.made.append(json.loads(body))
                if "taken" in json.loads(body)["name"]:
                    status, said = 403, {"error": "You don't have the rights to create this repository"}
                else:
                    said = {"url": f"http://{self.headers['Host']}/anna/{json.loads(body)['name']}"}
            elif "/preupload/" in self.path:
                asked = json.loads(body)["files"]
                said = {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in asked]}
            elif "/commit/" in self.path:
                for line in map(json.loads, body.splitlines()):
                    if line["key"] == "file":
                        Hub.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                said = {"commitUrl": f"http://{self.headers['Host']}/anna/x/commit/1", "commitOid": "1" * 40}
            self.answer(status, said)

        def do_GET(self):
            status = 404 if "taken" in self.path else 200
            self.answer(status, {"id": "anna/x", "siblings": [], "private": "open" not in self.path, "sha": "0" * 40})

        def answer(self, status, said):
            data = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    yield Hub
    server.shutdown()
    server.server_close()


@pytest.fixture
def options(llama, tmp_path):
    save_corpus(tmp_path / "corpus", synthetic_notes(notes=4, seed=0))
    return {
        "corpus": str(tmp_path / "corpus"),
        "output_dir": str(tmp_path / "tuned"),
        "model_name_or_path": str(llama),
        "levels": ["chapter"],
        "folds": 2,
        "max_steps": 1,
    }


@pytest.mark.parametrize("asked", [{"push_to_hub": True}, {"report_to": "wandb"}, {"report_to": ["tensorboard"]}])
def test_nothing_leaves_without_consent(options, asked):
    with pytest.raises(InputError, match=r"add --i-may-publish if you may; adapters tuned on credentialed notes"):
        make_options(**options, **asked)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"push_to_hub": True}, "add --hub_model_id"),
        ({"report_to": "wandbb"}, r"no tracker 'wandbb' \(did you mean 'wandb'\?\)"),
        ({"report_to": "neptune"}, "neptune is not installed"),
    ],
)
def test_what_cannot_work_is_told_before_the_work(options, asked, sentence):
    with pytest.raises(InputError, match=sentence):
        make_options(**options, **asked, i_may_publish=True)


def test_a_config_file_cannot_give_the_consent(options, tmp_path):
    config = tmp_path / "theirs.yaml"
    config.write_text("push_to_hub: true\nhub_model_id: mallory/notes\ni_may_publish: true\n", encoding="utf-8")
    words = ["--config", str(config), "--corpus", options["corpus"], "--output_dir", options["output_dir"]]
    with pytest.raises(InputError, match="which only you can give, on the command line"):
        parse_options(words)
    config.write_text("push_to_hub: true\nhub_model_id: anna/notes\n", encoding="utf-8")
    with pytest.raises(InputError, match="--i-may-publish"):
        parse_options(words)
    assert parse_options([*words, "--i-may-publish"])[1].push_to_hub


def test_ltr_icd_asks_too(tmp_path):
    with pytest.raises(InputError, match="--i-may-publish"):
        ltr_icd_options(corpus="corpus", output_dir=str(tmp_path), report_to="wandb")
    with pytest.raises(InputError, match="push_to_hub is for adapters"):
        ltr_icd_options(corpus="corpus", output_dir=str(tmp_path), push_to_hub=True, i_may_publish=True)


def test_a_refusal_of_the_hub_comes_before_the_first_step(hub, options, tmp_path, capsys):
    with pytest.raises(InputError, match=r"--push_to_hub to anna/taken: create_repo failed \(.*403"):
        finetune(make_options(**options, push_to_hub=True, hub_model_id="anna/taken", i_may_publish=True))
    assert not (tmp_path / "tuned").exists()
    assert "may not be published" in capsys.readouterr().err


def test_a_public_repository_is_refused_unless_it_is_asked_for(hub, options):
    with pytest.raises(InputError, match="anna/open is public"):
        finetune(make_options(**options, push_to_hub=True, hub_model_id="anna/open", i_may_publish=True))


@pytest.mark.slow
def test_the_final_adapter_is_uploaded_and_no_note_id_nor_path(hub, options, llama, tmp_path):
    asked = {"push_to_hub": True, "hub_model_id": "anna/mine", "hub_token": "hf_secret"}
    finetune(make_options(**options, **asked, i_may_publish=True))
    assert [(repo["name"], repo["organization"], repo["visibility"]) for repo in hub.made] == [
        ("mine", "anna", "private")
    ]
    assert hub.authorised == {"Bearer hf_secret"}
    assert {"concepts.json", "prompt.yaml", "adapter/adapter_config.json"} <= set(hub.files)
    assert {name.split("/")[0] for name in hub.files} == {"concepts.json", "prompt.yaml", "adapter"}
    assert not any(name.endswith(".bin") for name in hub.files)
    assert str(tmp_path).encode() not in b"".join(hub.files.values())
    assert str(llama.parent).encode() not in b"".join(hub.files.values())
    own = json.loads((tmp_path / "tuned" / "adapter" / "adapter_config.json").read_text(encoding="utf-8"))
    assert own["base_model_name_or_path"] == str(llama)
