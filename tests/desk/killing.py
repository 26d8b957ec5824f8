"""Reviews under way while the server is killed with SIGKILL: what it acknowledged must be there afterwards."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.desk.service import Person, Service, started

#: Each works on a note of their own; the last two share one.
PEOPLE = {"anna": "n0", "ben": "n1", "cleo": "n2", "dan": "n2"}
CODES = ("428.0", "401.9", "250.00", "427.31", "584.9", "272.4", "38.91", "99.04", "V58.61", "E888.9")


@dataclass
class Session:
    """What the server acknowledged, over all of its lives.

    Attributes:
        acknowledged: note -> version -> what was decided (person, action, code).
        unanswered: requests whose answer never came; they may have been recorded or not.
    """

    acknowledged: dict[str, dict[int, tuple[str, str, str | None]]] = field(default_factory=dict)
    unanswered: int = 0
    conflicts: int = 0

    @property
    def count(self) -> int:
        """Decisions acknowledged."""
        return sum(len(decided) for decided in list(self.acknowledged.values()))


def kill_in_mid_review(coder: Path, folder: Path, record: str, rounds: int, seed: int) -> tuple[Session, list[str]]:
    """Starts, works, kills, `rounds` times over.

    Returns:
        The session, and what is wrong with the record afterwards; nothing should be.
    """
    session, rng = Session(), random.Random(seed)
    for round_ in range(rounds):
        with started(coder, folder, record=record, ready=round_ == 0) as service:
            people = [Person(service.client, name, note) for name, note in PEOPLE.items()]
            for person in people:
                person.version = person.review()["version"] if round_ else person.open()["review"]["version"]
            threads = [threading.Thread(target=_work, args=(service.url, person, session)) for person in people]
            for thread in threads:
                thread.start()
            enough = session.count + rng.randint(10, 30)
            while session.count < enough and any(thread.is_alive() for thread in threads):
                time.sleep(0.001)
            service.process.kill()
            service.process.wait()
            for thread in threads:
                thread.join()
    with started(coder, folder, record=record, ready=False) as service:
        return session, _wrong(service, session)


def _work(url: str, person: Person, session: Session) -> None:
    """Adds, reorders, removes and undoes, until the server is gone."""
    own = random.Random(f"{person.name} {person.version}")
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        person.client = client
        try:
            state = person.review()
            while True:
                listed = [code["code"] for code in state["diagnoses"]]
                free = [code for code in CODES if code not in listed + [c["code"] for c in state["procedures"]]]
                choices: list[tuple[str, str | None, dict[str, Any]]] = []
                choices += [("add", own.choice(free), {})] * 3 if free else []
                choices += [("remove", own.choice(listed), {})] * 2 if listed else []
                choices += [("reorder", None, {"kind": "diagnosis", "order": listed[::-1]})] if len(listed) > 1 else []
                choices += [("undo", None, {})] if state["undo"] else []
                action, code, more = own.choice(choices)
                answered = person.decide(action, code, **more)
                state = answered.json() if answered.status_code == 200 else answered.json()["review"]
                if answered.status_code == 200:
                    said = (person.name, action, state["last"]["code"])
                    session.acknowledged.setdefault(person.key, {})[state["version"]] = said
                else:
                    assert answered.status_code == 409, answered.text
                    person.version = state["version"]
                    session.conflicts += 1
        except httpx.TransportError:
            session.unanswered += 1


def _wrong(service: Service, session: Session) -> list[str]:
    wrong = []
    for key, decided in session.acknowledged.items():
        events = service.client.get(f"/v1/notes/{key}/history").json()["events"]
        held = {event["version"]: (event["by"], event["action"], event["code"]) for event in events if event["version"]}
        wrong += [
            f"{key} {version}: {held.get(version)} is not {said}"
            for version, said in decided.items()
            if held.get(version) != said
        ]
        if sorted(held) != list(range(1, len(held) + 1)):
            wrong.append(f"{key}: the versions have gaps")
        if len(held) - 1 > len(decided) + session.unanswered:
            wrong.append(f"{key}: more was recorded than was asked for")
        if service.client.get(f"/v1/notes/{key}/review").json()["version"] != len(held):
            wrong.append(f"{key}: the review is not what its events say")
    return wrong
