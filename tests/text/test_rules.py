"""Rules against sentences as they are dictated: denial, doubt, history, sections, side and size."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radfoundry.errors import InputError
from radfoundry.text import context
from radfoundry.text.findings import Dictionary, Finding, Normal
from radfoundry.text.mentions import Report, strongest
from radfoundry.text.rules import Rules


def entry(name: str, *synonyms: str, exclusions: tuple[str, ...] = (), parent: str = "") -> Finding:
    return Finding(
        name, name.replace("_", " ").capitalize(), "chest", "significant", parent, synonyms, exclusions
    )


ENTRIES = [
    entry("pleural_effusion", "effusion", "pleural effusion|fluid", exclusions=("pericardial effusion",)),
    entry("pneumothorax", "pneumothorax|pneumothoraces"),
    entry("cardiomegaly", "cardiomegaly", "heart|cardiac_silhouette ... enlarged", "enlarged heart"),
    entry("pneumonia", "pneumonia"),
    entry("atelectasis", "atelectasis"),
    entry("consolidation", "consolidation"),
    entry("edema", "edema"),
    entry("pulmonary_edema", "pulmonary edema", parent="edema"),
    entry("nodule", "nodule"),
    entry("central_line", "central line|venous_catheter"),
]
NORMALS = (
    Normal(("heart|heart_size ... normal",), ("cardiomegaly",)),
    Normal(("lung ... clear",), ("consolidation", "nodule")),
)
SMALL = Dictionary("small", "1", "en", {e.id: e for e in ENTRIES}, NORMALS)
RULES = Rules(SMALL)


def found(text: str) -> dict[str, str]:
    return {m.finding: m.status for m in strongest(RULES.read(text))}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # denial
        ("No pleural effusion or pneumothorax.", {"pleural_effusion": "absent", "pneumothorax": "absent"}),
        (
            "No focal consolidation, pleural effusion, or pneumothorax is seen.",
            {"consolidation": "absent", "pleural_effusion": "absent", "pneumothorax": "absent"},
        ),
        ("Negative for pneumothorax. Small nodule.", {"pneumothorax": "absent", "nodule": "present"}),
        ("Pneumothorax is not seen.", {"pneumothorax": "absent"}),
        ("Edema and pneumothorax have resolved.", {"edema": "absent", "pneumothorax": "absent"}),
        ("Interval resolution of the left effusion.", {"pleural_effusion": "absent"}),
        ("The central line has been removed.", {"central_line": "absent"}),
        ("The heart is not enlarged.", {"cardiomegaly": "absent"}),
        ("No pneumothorax, stable cardiomegaly.", {"pneumothorax": "absent", "cardiomegaly": "present"}),
        ("No pneumothorax but a small effusion.", {"pneumothorax": "absent", "pleural_effusion": "present"}),
        ("No pneumothorax; effusion on the left.", {"pneumothorax": "absent", "pleural_effusion": "present"}),
        ("There is no pneumothorax, there is a small effusion.",
         {"pneumothorax": "absent", "pleural_effusion": "present"}),
        ("Cardiomegaly without edema.", {"cardiomegaly": "present", "edema": "absent"}),
        ("Atelectasis, no pneumothorax.", {"atelectasis": "present", "pneumothorax": "absent"}),
        ("Cardiomegaly, nodule is not identified.", {"cardiomegaly": "present", "nodule": "absent"}),
        # a word of denial that denies nothing
        ("No change in the left effusion.", {"pleural_effusion": "present"}),
        ("No significant interval change in cardiomegaly.", {"cardiomegaly": "present"}),
        ("Effusion is not significantly changed.", {"pleural_effusion": "present"}),
        # comparison
        ("Unchanged cardiomegaly.", {"cardiomegaly": "present"}),
        ("The effusion is stable compared to prior.", {"pleural_effusion": "present"}),
        ("No new consolidation.", {"consolidation": "absent"}),
        ("No residual pneumothorax.", {"pneumothorax": "absent"}),
        # doubt
        ("Possible pneumonia.", {"pneumonia": "uncertain"}),
        ("Opacity which may represent atelectasis.", {"atelectasis": "uncertain"}),
        ("Pneumonia cannot be excluded.", {"pneumonia": "uncertain"}),
        ("Cannot exclude pneumonia.", {"pneumonia": "uncertain"}),
        ("Atelectasis versus pneumonia.", {"atelectasis": "uncertain", "pneumonia": "uncertain"}),
        ("No evidence of possible pneumonia.", {"pneumonia": "absent"}),
        # history and the question asked are no findings of this examination
        ("History of pneumonia.", {}),
        ("CT to exclude pneumonia.", {}),
        ("INDICATION: Pneumonia. FINDINGS: Cardiomegaly.", {"cardiomegaly": "present"}),
        ("Comparison: effusion on the prior.\nFindings:\nAtelectasis.", {"atelectasis": "present"}),
        ("CLINICAL HISTORY: nodule\nIMPRESSION: Edema", {"edema": "present"}),
        ("Reason for exam: pneumothorax?\n\nImpression\nNodule.", {"nodule": "present"}),
        ("FINDINGS: HEART: enlarged heart. LUNGS: nodule.", {"cardiomegaly": "present", "nodule": "present"}),
        # the longer finding, and what is excluded
        ("Mild pulmonary edema.", {"pulmonary_edema": "present"}),
        ("Pericardial effusion.", {}),
        ("Pericardial effusion and pleural effusion.", {"pleural_effusion": "present"}),
        # gaps
        ("The heart is mildly enlarged.", {"cardiomegaly": "present"}),
        ("The cardiac silhouette remains moderately enlarged.", {"cardiomegaly": "present"}),
        ("Heart normal, enlarged thyroid.", {"cardiomegaly": "absent"}),
        ("Heart; enlarged thyroid.", {}),
        # normal statements
        ("Heart size is normal. Lungs are clear.",
         {"cardiomegaly": "absent", "consolidation": "absent", "nodule": "absent"}),
        ("The lungs are not clear.", {}),
        ("Lungs are clear. There is a nodule.", {"consolidation": "absent", "nodule": "present"}),
        # the strongest of several mentions
        ("No effusion on the right. Small effusion on the left.", {"pleural_effusion": "present"}),
        ("Possible pneumonia. IMPRESSION: Pneumonia.", {"pneumonia": "present"}),
        # plural, hyphens, capitals, missing spaces
        ("EFFUSIONS. Nodules are noted.", {"pleural_effusion": "present", "nodule": "present"}),
        ("Lungs are clear.There is cardiomegaly.", {"consolidation": "absent", "nodule": "absent",
                                                    "cardiomegaly": "present"}),
        ("", {}),
        ("   \n\t ", {}),
    ],
)  # fmt: skip
def test_a_sentence_means_what_a_radiologist_would_say(text: str, expected: dict[str, str]) -> None:
    assert found(text) == expected


def test_no_more_than_the_list_is_denied_by_abbreviations_and_numbers() -> None:
    text = "1. No pneumothorax. 2. Nodule of approx. 4.5 x 6.8 cm seen by Dr. Smith. 3. Effusion."
    assert found(text) == {"pneumothorax": "absent", "nodule": "present", "pleural_effusion": "present"}


@pytest.mark.parametrize(
    ("text", "side", "size"),
    [
        ("Small left effusion.", "left", "mild"),
        ("Effusion on the right, large.", "right", ""),
        ("Moderate bilateral effusions.", "bilateral", "moderate"),
        ("Left and right effusions.", "bilateral", ""),
        ("Massive right-sided effusion.", "right", "severe"),
        ("Effusion. The left clavicle is normal.", "", ""),
    ],
)
def test_side_and_size_are_those_of_the_clause(text: str, side: str, size: str) -> None:
    (mention,) = [m for m in RULES.read(text) if m.finding == "pleural_effusion"]
    assert (mention.laterality, mention.severity) == (side, size)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from([
    "No effusion", "Small effusion", "heart is mildly enlarged", "possible pneumonia", "FINDINGS:", "\n",
    ". ", "IMPRESSION:", ", ", "; ", "Comparison: none", "İß ﬁ", "nodule", "<b>", "approx. 3 mm",
]), max_size=25))  # fmt: skip
def test_evidence_is_always_verbatim(pieces: list[str]) -> None:
    text = " ".join(pieces)
    mentions = RULES.read(text)
    assert all(m.evidence == text[m.start : m.end] and m.evidence for m in mentions)
    assert [m.start for m in mentions] == sorted(m.start for m in mentions)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.sampled_from(["No effusion.", "Cardiomegaly.", "Pneumothorax is not seen.", "Possible edema."])
    )
)
def test_sentences_do_not_act_on_each_other(sentences: list[str]) -> None:
    together = [(m.finding, m.status) for m in RULES.read(" ".join(sentences))]
    apart = [(m.finding, m.status) for s in sentences for m in RULES.read(s)]
    assert together == apart


@pytest.mark.parametrize("unit", ["Small left effusion, no pneumothorax. ", "no effusion ", "heart ", "a, "])
def test_a_report_of_100000_characters_takes_seconds(unit: str) -> None:
    text = unit * (100_000 // len(unit))
    start = time.process_time()
    RULES.read(text)
    assert time.process_time() - start < 10


def test_extraction_keeps_order_and_the_version_names_what_decides() -> None:
    reports = [Report("b", "Nodule."), Report("a", ""), Report("c", "No nodule.")]
    done = list(RULES.extract(reports))
    assert [e.report_id for e in done] == ["b", "a", "c"]
    assert done[0].ids() == {"nodule"} and done[1].findings == () and done[2].ids() == set()
    other = Rules(Dictionary("small", "1", "en", {e.id: e for e in ENTRIES[:3]}))
    assert other.version != RULES.version == Rules(SMALL).version


def test_context_rules_are_checked(tmp_path) -> None:
    for language in ("en", "es"):
        assert context.of_language(language).reaches["negation", "before"]
    path = tmp_path / "c.yaml"
    for text, words in [
        ("format: 1\nnegations: {}", "Did you mean 'negation'"),
        ("format: 2", "reads `format: 1`"),
        ("format: 1\nnegation: {bfore: [no]}", "Did you mean 'before'"),
        ("format: 1\nstop: [no]", "quote them"),
        ("format: 1\nlanguage: fr", "Use one of: en, es"),
    ]:
        path.write_text(text)
        with pytest.raises(InputError, match=words):
            context.read(path)


def test_rules_of_another_language_are_refused() -> None:
    with pytest.raises(InputError, match="context rules are in 'es' and small in 'en'"):
        Rules(SMALL, context=context.of_language("es"))


def test_a_wider_finding_in_the_words_of_a_narrower_one_is_not_said_twice() -> None:
    """Else a draft without the sentence omits two findings."""
    wide = Finding("degeneration", "Degenerative change", "bone", "minor", synonyms=("degenerative change",))
    spine = Finding("spine", "Spine degeneration", "bone", "minor", parent="degeneration",
                    synonyms=("degenerative ... spine",))  # fmt: skip
    apart = replace(spine, parent="")
    for narrow, expected in ((spine, ["spine"]), (apart, ["degeneration", "spine"])):
        rules = Rules(Dictionary("two", "1", "en", {"degeneration": wide, "spine": narrow}))
        assert sorted(m.finding for m in rules.read("Degenerative changes of the spine.")) == expected
        elsewhere = rules.read("Degenerative changes of the spine, and degenerative changes of ribs.")
        assert "degeneration" in {m.finding for m in elsewhere}
