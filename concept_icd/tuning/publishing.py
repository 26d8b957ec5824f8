"""What leaves the machine while a model is tuned: nothing, unless the user asks for it and says that it may.

A tracker is sent losses and options, a hub the adapter. An adapter may remember the notes that it was tuned on, so
both need `--i-may-publish` on the command line, where no config file that somebody else wrote can give it.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from concept_icd.artifacts import read_json, write_json
from concept_icd.errors import InputError, did_you_mean
from concept_icd.progress import say

#: What a hub is given of a tuning run. Never `folds.json` and `manifest.json`: they hold ids of notes.
_UPLOADED = ("adapter/*", "concepts.json", "prompt.yaml")
#: Help of the option that every training has for it.
CONSENT = "Allows push_to_hub and trackers: you may publish what was learnt. On the command line alone."
_WARNING = (
    "adapters tuned on credentialed notes, such as MIMIC's, may remember them and may not be published; their data use "
    "agreements say so"
)


def check_trackers(training: Any) -> None:
    """Checks `report_to` and `push_to_hub` before any work, without a connection.

    Args:
        training: options of transformers' Trainer, with `i_may_publish` beside them.

    Raises:
        InputError: the consent is missing, a tracker is unknown or not installed, or the hub's repository has no name.
    """
    from transformers.integrations import integration_utils

    asked = [training.report_to] if isinstance(training.report_to, str) else list(training.report_to or ())
    trackers = [name for name in asked if name != "none"]
    known = sorted(integration_utils.INTEGRATION_TO_CALLBACK)
    for name in trackers:
        if name not in (*known, "all"):
            raise InputError(f"report_to: there is no tracker {name!r}{did_you_mean(name, known)}")
    wanted = [f"--report_to {name}" for name in trackers] + ["--push_to_hub"] * bool(training.push_to_hub)
    if wanted and not training.i_may_publish:
        raise InputError(
            f"{' and '.join(wanted)} would send what was learnt from the notes elsewhere: add --i-may-publish if you "
            f"may; {_WARNING}"
        )
    installed = integration_utils.get_available_reporting_integrations()
    for name in trackers:
        if name not in (*installed, "all"):
            raise InputError(f"report_to: {name} is not installed; install it, or leave report_to out")
    if training.push_to_hub and not training.hub_model_id:
        raise InputError("--push_to_hub needs the repository's name: add --hub_model_id USER/NAME")


def begin_publishing(training: Any) -> None:
    """Warns, and makes the hub's repository before the work, so that a missing right does not cost it.

    The repository must be private unless `hub_private_repo` is false.

    Raises:
        InputError: the hub cannot be reached, or refuses the token or the name; or the repository is there and public.
    """
    if training.push_to_hub or training.report_to not in (None, [], "none", ["none"]):
        say(f"warning: {_WARNING}")
    if training.push_to_hub:
        private = training.hub_private_repo is not False
        _asked(training, "create_repo", private=private, exist_ok=True)
        if private and not _asked(training, "repo_info").private:
            raise InputError(
                f"{training.hub_model_id} is public: name a private repository, or say so with --hub_private_repo false"
            )


def publish(folder: Path, training: Any) -> None:
    """Uploads the finished final adapter, its concepts and its prompt, if the options say so.

    Raises:
        InputError: the upload failed; the folder is whole, and the same command tries again.
    """
    if not training.push_to_hub:
        return
    with tempfile.TemporaryDirectory() as staging:
        copy = Path(staging) / folder.name
        shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("checkpoints", "fold-*"))
        for path in copy.glob("*/adapter_config.json"):  # a folder of this machine is nobody else's business
            config = read_json(path)
            if Path(base := config["base_model_name_or_path"]).is_dir():
                write_json(path, config | {"base_model_name_or_path": Path(base).name})
        _asked(training, "upload_folder", folder_path=copy, allow_patterns=list(_UPLOADED))


def _asked(training: Any, request: str, **values: Any) -> Any:
    import httpx
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, OfflineModeIsEnabled

    try:
        return getattr(HfApi(token=training.hub_token), request)(repo_id=training.hub_model_id, **values)
    except (HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, OfflineModeIsEnabled, httpx.HTTPError) as error:
        why = " ".join(str(error).split())[:200]
        raise InputError(f"--push_to_hub to {training.hub_model_id}: {request} failed ({why})") from error
