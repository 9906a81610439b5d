"""The operator's commands for organizations and keys, on a home of their own, as processes."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.platform_fixtures import new_home


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A home with a second organization, `acme-sons`, so that each test finds the same, alone or after others."""
    folder = new_home()
    acme = made(folder, "orgs", "create", "--name", "Acme & Sons")
    assert acme["slug"] == "acme-sons" and acme["api_key"]["key"].startswith("rf_live_")
    assert "organizations:create" not in acme["api_key"]["scopes"]
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def runflow(home: Path, *words: str, code: int = 0, **environment: str) -> "subprocess.CompletedProcess[str]":
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RUNFLOW_")}
    ended = subprocess.run(
        [sys.executable, "-m", "runflow", *words],
        env={**kept, "RUNFLOW_HOME": str(home), "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == code, ended.stderr
    return ended


def psql(home: Path, statement: str) -> None:
    words = [sys.executable, "-m", "runflow.embedded_postgres", str(home), "psql", "-v", "ON_ERROR_STOP=1"]
    subprocess.run([*words, "-c", statement], check=True, capture_output=True)


def made(home: Path, *words: str) -> Any:
    return json.loads(runflow(home, *words, "--json").stdout)


def test_organizations_and_their_keys(home: Path) -> None:
    default, acme = made(home, "orgs", "list")
    assert [default["slug"], acme["slug"]] == ["default", "acme-sons"]
    assert "acme-sons" in runflow(home, "orgs", "list").stdout
    key = made(home, "keys", "create", "--name", "x", "--org", "acme-sons", "--days", "3", "--rate-limit", "7")
    assert (key["org_id"], key["rate_limit_per_second"]) == (acme["id"], 7) and key["expires_at"] is not None
    assert "organizations:create" not in key["scopes"]
    assert "organizations:create" in made(home, "keys", "create", "--name", "mine")["scopes"]
    assert made(home, "keys", "revoke", key["id"]) == {"id": key["id"], "made_with_it": []}
    token = made(home, "keys", "create-worker", "--name", "w")["id"]
    assert made(home, "keys", "revoke-worker", token) == {"id": token}
    for words, sentence in (
        (("orgs", "create", "--name", "x", "--slug", "acme-sons"), "already"),
        (("orgs", "create", "--name", "categories"), "fixed word"),
        (("keys", "create", "--name", "x", "--org", "nobody"), "no organization"),
        (("keys", "create", "--name", "x", "--org", "acme-sons", "--scope", "organizations:create"), "operator's"),
        (("keys", "revoke", "0197f3a0-0000-7000-8000-000000000000"), "no API key"),
    ):
        assert sentence in runflow(home, *words, code=1).stderr


def test_keys_are_listed_without_their_secrets(home: Path) -> None:
    key = made(home, "keys", "create", "--name", "listed", "--scope", "runs:read")
    made(home, "keys", "create-worker", "--name", "gpu-7")
    (found,) = [one for one in made(home, "keys", "list")["items"] if one["id"] == key["id"]]
    assert found["scopes"] == ["runs:read"] and "key" not in found
    runflow(home, "keys", "revoke", key["id"])
    shown = runflow(home, "keys", "list").stdout
    (line,) = [line for line in shown.splitlines() if key["id"] in line]
    assert "revoked" in line and key["key"] not in shown
    assert "gpu-7" in [one["name"] for one in made(home, "keys", "list-workers")["items"]]
    assert "gpu-7" in runflow(home, "keys", "list-workers").stdout
    assert "no organization" in runflow(home, "keys", "list", "--org", "nobody", code=1).stderr


def test_members_come_and_go(home: Path) -> None:
    org = ("orgs", "members")
    ada = made(home, *org, "add", "default", "ada@example.com", "--role", "owner", "--first-name", "Ada")
    assert (ada["role_code"], ada["created_by"]) == ("owner", None)
    made(home, *org, "add", "default", "bob@example.com")
    assert [one["email"] for one in made(home, *org, "list", "default")["items"]] == [
        "ada@example.com",
        "bob@example.com",
    ]
    assert "Ada" in runflow(home, *org, "list", "default").stdout
    runflow(home, *org, "remove", "default", "BOB@example.com")
    for words, sentence in (
        (("add", "default", "ada@example.com"), "member of this organization already"),
        (("add", "default", "nobody"), "email"),
        (("add", "nobody", "bob@example.com"), "no organization"),
        (("remove", "default", "bob@example.com"), "no member"),
        (("remove", "default", "ada@example.com"), "last owner"),
    ):
        assert sentence in runflow(home, *org, *words, code=1).stderr
    assert "belong to nobody" in runflow(home, *org, "list", "acme-sons").stderr


def test_a_second_costs_nothing_until_somebody_says_so(home: Path) -> None:
    def prices() -> set[str]:
        return {one["price_per_second"] for one in made(home, "gpus", "list")["items"] if one["code"] != "CPU"}

    assert prices() == {"0.000000"}
    runflow(home, "gpus", "cloud-prices")
    assert "0.000444" in prices() and "0.000000" not in prices()


def test_the_status_of_a_home_without_a_server(home: Path) -> None:
    said = runflow(home, "status").stdout
    assert f"not running on {home}" in said and "runflow up" in said and "none has ever registered" in said
    assert "No worker" in runflow(home, "workers", "list").stderr
    psql(home, "INSERT INTO workers (id, name, instance, gpu_code, status_code) SELECT x, 'gone', x, 'CPU', 'ready'"
               " FROM gen_random_uuid() x")  # fmt: skip
    shown = runflow(home, "status").stdout
    psql(home, "DELETE FROM workers")
    assert "0 connected" in shown and "0 s ago  ready" not in shown, "seen just now, but there is nobody to be with"


def test_a_new_master_key(home: Path) -> None:
    before = (home / "secret.key").read_text()
    rotated = runflow(home, "keys", "rotate-master", "--json")
    assert "given out before" in rotated.stderr and json.loads(rotated.stdout)["sealed_secrets"] >= 0
    after = (home / "secret.key").read_text()
    assert after != before and not (home / "secret.key.new").exists()
    assert len(made(home, "orgs", "list")) == 2, "the roles of the database have passwords of the new key"


def test_an_interrupted_rotation_stops_everything_but_its_end(home: Path) -> None:
    (home / "secret.key.new").write_text("n" * 64 + "\n")
    assert "rotate-master" in runflow(home, "orgs", "list", code=1).stderr
    runflow(home, "keys", "rotate-master")
    assert (home / "secret.key").read_text() == "n" * 64 + "\n"
    assert len(made(home, "orgs", "list")) == 2


def test_a_key_in_the_environment_is_rotated_from_a_file(home: Path, tmp_path: Path) -> None:
    old, new, file = "a" * 40, "b" * 40, tmp_path / "new.key"
    file.write_text(new + "\n")
    assert "--new-key-file" in runflow(home, "keys", "rotate-master", code=1, RUNFLOW_SECRET_KEY=old).stderr
    words = ("keys", "rotate-master", "--new-key-file", str(file))
    assert "RUNFLOW_SECRET_KEY" in runflow(home, *words, RUNFLOW_SECRET_KEY=old).stderr
    runflow(home, "orgs", "list", RUNFLOW_SECRET_KEY=new)
    assert "leave --new-key-file out" in runflow(
        home, "keys", "rotate-master", "--new-key-file", str(home / "secret.key"), code=1
    ).stderr.replace("\n", " ")
