"""The dictionaries that are shipped, and every fault that the validator explains."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml

from radfoundry.errors import InputError, UnknownName
from radfoundry.text import findings
from radfoundry.text.findings import Dictionary, validate
from radfoundry.text.phrases import fold, parts, stem, wordings

AT_LEAST = {"chest-radiograph": 233, "chest-ct": 60, "head-ct": 50, "knee": 40, "chest-radiograph-es": 14}
CHEXPERT = {
    "enlarged_cardiomediastinum", "cardiomegaly", "lung_opacity", "lung_lesion", "pulmonary_edema",
    "consolidation", "pneumonia", "atelectasis", "pneumothorax", "pleural_effusion", "pleural_other",
    "fracture", "support_device",
}  # fmt: skip


def test_every_named_dictionary_is_shipped() -> None:
    assert set(AT_LEAST) <= set(findings.names())


@pytest.mark.parametrize("name", findings.names())
def test_a_shipped_dictionary_has_no_fault_and_is_large_enough(name: str) -> None:
    assert validate(findings.read_yaml(findings.FOLDER / f"{name}.yaml")) == []
    found = findings.load(name)
    assert len(found) >= AT_LEAST.get(name, 1) and found.name == name
    assert any(one.criticality == "critical" for one in found)
    assert len(found.by_region()) > 1 and found.normals


def test_the_spanish_dictionary_has_the_observations_of_chexpert() -> None:
    assert set(findings.load("chest-radiograph-es").findings) >= CHEXPERT


ONE = {
    "id": "effusion",
    "name": "Effusion",
    "region": "pleura",
    "criticality": "minor",
    "synonyms": ["effusion"],
}
TWO = {
    "id": "nodule",
    "name": "Nodule",
    "region": "lung",
    "criticality": "significant",
    "synonyms": ["nodule"],
}


def made(*entries: object, **more: object) -> dict:
    return {"format": 1, "name": "t", "version": "1", "findings": list(entries), **more}


@pytest.mark.parametrize(
    ("dictionary", "words"),
    [
        (made(ONE, {**TWO, "synonyms": ["Effusions"]}), "means 'effusion' as well (both read 'effusion')"),
        (made(ONE, {**TWO, "synonyms": ["small? effusion"]}), "means 'effusion' as well"),
        (made(ONE, {**TWO, "id": "effusion"}), "id 'effusion' is used by findings[1] too"),
        (
            made({**ONE, "parent": "nodule"}, {**TWO, "parent": "effusion"}),
            "run in a circle: effusion -> nodule -> effusion",
        ),
        (made({**ONE, "parent": "effusion"}), "run in a circle: effusion -> effusion"),
        (made({**ONE, "parent": "nodul"}, TWO), "parent 'nodul' is no finding. Did you mean 'nodule'"),
        (made({**ONE, "parent": ["nodule"]}, TWO), "parent ['nodule'] is no text"),
        (made({**ONE, "criticality": "urgent"}), "Use one of: critical, significant, minor, normal variant"),
        (made({**ONE, "synonims": []}), "unknown entry 'synonims'. Did you mean 'synonyms'"),
        (made({**ONE, "id": "p"}), "of 2 to 61 characters. Such as"),
        (made({**ONE, "parent": "zzzzzzzz"}), "is no finding. Add the parent"),
        (made({**ONE, "id": "Pleural effusion"}), "is not lower case with underscores"),
        (made({k: v for k, v in ONE.items() if k != "region"}), "region is missing"),
        (made({**ONE, "synonyms": "effusion"}), "is no list"),
        (made({**ONE, "synonyms": [], "name": "..."}), "has no words before, after or between its gaps"),
        (made({**ONE, "synonyms": [False]}), "Put it in quotes"),
        (made({**ONE, "synonyms": ["... effusion"]}), "has no words before, after or between its gaps"),
        (made({**ONE, "synonyms": ["a||b"]}), "empty alternative"),
        (made({**ONE, "synonyms": [" ".join(["a|b|c|d"] * 9)]}), "more than 2000 wordings"),
        (made({**ONE, "exclusions": ["effusions"]}), "is a synonym and excluded"),
        (made({**ONE, "codes": {"snomed": "60046009"}}), "'60046009' is no valid snomed code"),
        (made({**ONE, "codes": {"radlex": ["RID34539"]}}), "['RID34539'] is no valid radlex code"),
        (made({**ONE, "codes": {"icd": "J90"}}), "'icd' is no known system"),
        (made(ONE, format=2), "This version reads `format: 1`"),
        (made(ONE, language="fr"), "'fr' has no rules"),
        (made(ONE, normals=[{"phrases": ["clear"], "absent": ["effusions"]}]), "Did you mean 'effusion'"),
        (made(ONE, normals=[{"phrases": None, "absent": ["effusion"]}]), "normals[1].phrases: is no list"),
        (made(ONE, normals=[{"phrases": ["clear"], "absent": [["effusion"]]}]), "['effusion'] is no text"),
        (made(ONE, normals={"phrases": ["clear"], "absent": []}), "normals: is no list"),
        (made(ONE, normals=[{"phrases": [], "absent": ["effusion"]}]), "normals[1].phrases: is empty. Add a"),
        (made(ONE, normals=[{"phrases": ["clear"], "absent": []}]), "normals[1].absent: is empty. Add the"),
        (made(ONE, normals=[{"phrases": ["dry|Effusions"], "absent": ["effusion"]}]),
         "normals[1].phrases: 'dry|Effusions' says that 'effusion' is there as well (both read 'effusion')"),
        (made(), "no list of findings"),
        (made("effusion"), "is no mapping"),
    ],
)  # fmt: skip
def test_each_fault_is_explained(dictionary: dict, words: str, tmp_path: Path) -> None:
    assert any(words in str(problem) for problem in validate(dictionary)), validate(dictionary)
    (tmp_path / "d.yaml").write_text(yaml.safe_dump(dictionary))
    with pytest.raises(InputError, match=r"d\.yaml has \d+ fault"):
        findings.load(tmp_path / "d.yaml")


def test_all_faults_are_told_at_once() -> None:
    problems = validate(made({**ONE, "criticality": "x", "parent": "y"}, {**TWO, "id": "N"}, format=3))
    assert len(problems) == 4


@pytest.mark.parametrize(
    "fault",
    [
        {"criticality": "urgent"}, {"parent": "nobody"}, {"codes": {"icd": "J90"}}, {"id": "Nodule"},
        {"id": 7},
        {"synonyms": ["Effusions", "... gap", False]}, {"region": ""}, {"extra": 1},
    ],
)  # fmt: skip
def test_a_clash_is_told_beside_the_other_faults_of_its_entry(fault: dict) -> None:
    """Not only once those are mended."""
    problems = [str(one) for one in validate(made(ONE, {**TWO, "synonyms": ["Effusions"], **fault}))]
    assert sum("means 'effusion' as well" in one for one in problems) == 1 and len(problems) > 1
    alone = [str(one) for one in validate(made(ONE, {**TWO, **fault, "synonyms": ["nodule"]}))]
    assert not any("as well" in one for one in alone)


def test_clashes_are_told_beside_a_language_without_rules() -> None:
    problems = [str(one) for one in validate(made(ONE, {**TWO, "synonyms": ["effusion"]}, language="fr"))]
    assert len(problems) == 2 and "means 'effusion' as well" in problems[1]


DOUBLED = """\
format: 1
name: t
version: "1"
name: u
findings:
  - id: effusion
    name: Effusion
    region: pleura
    criticality: minor
    synonyms: [effusion]
    synonyms: [pleural fluid]
  - id: nodule
    name: Nodule
    region: lung
    criticality: urgent
    codes: {radlex: RID34539, radlex: RID34540}
"""


def test_a_key_that_stands_twice_is_told_with_its_entry_and_lines(tmp_path: Path) -> None:
    """YAML keeps the last without a word, and half of the synonyms are gone."""
    (tmp_path / "d.yaml").write_text(DOUBLED)
    with pytest.raises(InputError, match="has 4 faults") as error:
        findings.load(tmp_path / "d.yaml")
    told = str(error.value)
    assert "the file: has 'name' twice, in lines 2 and 4. Only the last would count: join the two" in told
    assert "findings[1]: has 'synonyms' twice, in lines 10 and 11" in told
    assert "findings[2].codes: has 'radlex' twice, in lines 16 and 16" in told
    assert "criticality is 'urgent'" in told
    with pytest.raises(InputError, match=r"d\.yaml:\n  the file: has 'name' twice"):
        findings.read_yaml(tmp_path / "d.yaml")


def test_the_same_key_in_two_entries_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "d.yaml").write_text("a: &x {k: 1}\nb: {k: 1, <<: *x}\nc: [*x, *x]\n? [1, 2]\n: 3\n")
    with pytest.raises(InputError, match="not readable as YAML"):  # a list is no key of a mapping
        findings.read_yaml(tmp_path / "d.yaml")
    (tmp_path / "d.yaml").write_text("a: &x {k: 1}\nb: {k: 1, <<: *x}\nc: [*x, *x]\n")
    assert findings.read_yaml(tmp_path / "d.yaml") == {"a": {"k": 1}, "b": {"k": 1}, "c": [{"k": 1}] * 2}


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'chest-radiograph'"):
        findings.load("chest-radiografh")
    with pytest.raises(InputError, match="there is no file"):
        findings.load(tmp_path / "absent.yaml")
    (tmp_path / "d.yaml").write_text("findings: !!python/object/apply:os.system ['true']")
    with pytest.raises(InputError, match="not readable as YAML"):
        findings.load(tmp_path / "d.yaml")
    (tmp_path / "d.yaml").write_text("- effusion")
    with pytest.raises(InputError, match="holds no mapping"):
        findings.load(tmp_path / "d.yaml")
    with pytest.raises(InputError, match="cannot be read"):
        findings.load(tmp_path)


def test_a_slip_of_yaml_is_told_by_its_place_and_not_by_the_line(tmp_path: Path) -> None:
    path = tmp_path / "d.yaml"
    path.write_text("findings:\n  - synonyms: [pleural? effusion]\n")
    with pytest.raises(InputError, match=r"line 2, column 23: .*put each phrase on a line of its own"):
        findings.load(path)
    path.write_text('report_id,report\n4711,"FINDINGS: Small: left\n effusion"\n')  # the wrong file was given
    with pytest.raises(InputError, match=r"line 2, column \d+: .*in quotes") as error:
        findings.load(path)
    assert not [word for word in ("4711", "Small", "effusion") if word in str(error.value)]


@pytest.mark.parametrize("line", [
    "format: *a11", "language: *a11", "normals: [{phrases: [clear], absent: *a11}]", "    criticality: *a11",
    "    parent: *a11", "    synonyms: [*a11]", "    codes: {radlex: *a11}",
])  # fmt: skip
def test_a_few_lines_that_stand_for_gigabytes_are_refused_at_once(line: str, tmp_path: Path) -> None:
    layers = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    layers += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    entry = ["findings:", "  - id: effusion", "    name: Effusion", line]
    (tmp_path / "d.yaml").write_text("\n".join([*layers, *entry]))
    start = time.process_time()
    with pytest.raises(InputError, match="faults") as error:
        findings.load(tmp_path / "d.yaml")
    assert time.process_time() - start < 2 and len(str(error.value)) < 5000


def test_a_long_chain_of_parents_is_followed_once() -> None:
    chain = [{**ONE, "id": f"f{i}", "synonyms": [f"word{i}"], "parent": f"f{i + 1}"} for i in range(3000)]
    start = time.process_time()
    assert validate(made(*chain, {**TWO, "id": "f3000"})) == []
    (problem,) = validate(made(*chain, {**TWO, "id": "f3000", "parent": "f2999"}))
    assert "run in a circle: f2999 -> f3000 -> f2999" in str(problem)
    assert time.process_time() - start < 5


def test_an_own_dictionary_is_read_with_its_hierarchy(tmp_path: Path) -> None:
    part = {
        **TWO,
        "id": "cavity",
        "name": "Cavitating nodule",
        "parent": "nodule",
        "synonyms": ["cavitating nodule"],
    }
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(made(ONE, TWO, part)))
    own = findings.load(tmp_path / "own.yaml")
    assert isinstance(own, Dictionary) and own.ancestors("cavity") == ("nodule",)
    assert {region: [one.id for one in found] for region, found in own.by_region().items()} == {
        "pleura": ["effusion"], "lung": ["nodule", "cavity"],
    }  # fmt: skip
    with pytest.raises(UnknownName, match="Did you mean 'nodule'"):
        own["nodul"]
    other = findings.read(tmp_path / "own.yaml")
    assert other.digest == own.digest
    changed = {**part, "synonyms": ["cavitary nodule"]}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(made(ONE, TWO, changed)))
    assert findings.read(tmp_path / "own.yaml").digest != own.digest


@pytest.mark.parametrize("text", ["Straße ß ﬁbrosis", "İstanbul", "CARDIOMEGALÍA", "a\u0301b", "x\ufeff"])
def test_folding_keeps_the_offsets(text: str) -> None:
    assert len(fold(text)) == len(text)


def test_phrases_and_stems() -> None:
    assert wordings("heart|cardiac_silhouettes ... enlarged") == (
        (("heart",), ("enlarged",)), (("cardiac", "silhouette"), ("enlarged",)),
    )  # fmt: skip
    assert parts("x-ray") == ((("x", "ray"),),)
    assert stem("atelectasis") == "atelectasis" and stem("opacities") == "opacity" and stem("gas") == "gas"
    assert {stem(w, "es") for w in ("derrame", "derrames")} == {stem("derrame", "es")}
