from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from reconcilers.api import crds

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.mark.slow  # PyYAML takes a second
def test_the_files_are_what_the_structs_say() -> None:
    assert crds.drift(crds.DIRECTORY) == [], "run python -m reconcilers.api.crds"


@pytest.mark.slow
def test_check_shows_a_diff_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert crds.main([str(tmp_path)]) == 0
    assert crds.main(["--check", str(tmp_path)]) == 0
    changed = tmp_path / "cassandrabackups.yaml"
    changed.write_text(changed.read_text().replace("AZURE_BLOB", "TAPE"))
    before = changed.read_text()

    assert crds.main(["--check", str(tmp_path)]) == 1

    assert re.search(r"^-.*TAPE", capsys.readouterr().out, re.MULTILINE)
    assert changed.read_text() == before


@pytest.mark.slow
@pytest.mark.parametrize("change", ["missing", "extra"])
def test_check_sees_a_file_too_few_or_too_many(tmp_path: Path, change: str) -> None:
    shutil.copytree(crds.DIRECTORY, tmp_path, dirs_exist_ok=True)
    if change == "missing":
        (tmp_path / "cassandrarestores.yaml").unlink()
    else:
        (tmp_path / "cassandraothers.yaml").write_text("kind: Other\n")

    assert crds.main(["--check", str(tmp_path)]) == 1


def schemas(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from schemas(inner, f"{path}.{name}")
    if "items" in schema:
        yield from schemas(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from schemas(schema["additionalProperties"], f"{path}{{}}")


def all_schemas() -> Iterator[tuple[str, dict[str, Any]]]:
    for definition in crds.DEFINITIONS:
        version = crds.manifest(definition)["spec"]["versions"][0]
        yield from schemas(version["schema"]["openAPIV3Schema"], definition.kind.resource.kind)


def test_only_replicas_has_a_default_which_the_server_would_write_into_a_spec() -> None:
    assert [path for path, schema in all_schemas() if "default" in schema] == ["CassandraDataCenter.spec.replicas"]


def test_every_description_is_a_sentence() -> None:
    texts = {path: schema.get("description", "None.") for path, schema in all_schemas()}

    assert [path for path, text in texts.items() if not re.fullmatch(r"[A-Z0-9].*\.", text)] == []


def test_no_rule_of_a_kind_is_inside_a_schedules_template() -> None:
    template = [schema for path, schema in all_schemas() if path.endswith(".backupTemplate.spec")]
    rules = [rule["rule"] for schema in template for rule in schema["x-kubernetes-validations"]]

    assert rules
    assert not [rule for rule in rules if "oldSelf" in rule]
