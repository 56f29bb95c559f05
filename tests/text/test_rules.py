"""Rules against sentences as they are dictated: denial, doubt, history, sections, side and size."""

from __future__ import annotations

import time
import warnings
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radfoundry.errors import InputError, Notice
from radfoundry.text import context, findings
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
    entry("pulmonary_edema", "pulmonary edema", "flash", parent="edema"),
    entry("nodule", "nodule"),
    entry("central_line", "central line|venous_catheter"),
]
NORMALS = (
    Normal(("heart|heart_size ... normal",), ("cardiomegaly",)),
    Normal(("lung ... clear",), ("consolidation", "nodule")),
)
SMALL = Dictionary("small", "1", "en", {e.id: e for e in ENTRIES}, NORMALS)
RULES = Rules(SMALL)
SPANISH = Rules(findings.load("chest-radiograph-es"))


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
        ("Cannot completely exclude pneumonia.", {"pneumonia": "uncertain"}),
        ("Difficult to entirely exclude pneumonia.", {"pneumonia": "uncertain"}),
        ("Pneumonia is not entirely excluded.", {"pneumonia": "uncertain"}),
        ("Pneumonia cannot be confidently excluded.", {"pneumonia": "uncertain"}),
        ("Pneumonia has been excluded.", {"pneumonia": "absent"}),
        ("Not consistent with pneumonia.", {"pneumonia": "absent"}),
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


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        *((answer, "absent") for answer in (
            "None.", "No", "no.", "NO.", "Negative.", "absent", "not present.", "none seen", "Nil.",
            "Not seen.", "No evidence.", "none identified", "is absent.", "resolved.", "unlikely",
            "No significant.", "none on the right.", "none visible on this study", "No pneumothorax.",
            "there is no pneumothorax.", "None, small left effusion.", "none but a small effusion.",
            "None; effusion on the left.", "no, effusion: yes", "None (portable film).",
            "none\nSmall left effusion", "No\neffusion: small left",
        )),
        *((answer, "uncertain") for answer in (
            "possible.", "Possible", "probable", "cannot be excluded.", "not excluded", "less likely.",
            "possible in the left lower lobe.", "possible small left.", "Questionable.", "suspected",
            "possible pneumothorax.",
        )),
        *((answer, "present") for answer in (
            "yes.", "present.", "small on the left.", "No change.", "no interval change", "not decreased.",
            "not large.", "no tension.", "No longer increasing.", "stable, no effusion.", "No effusion.",
            "none displaced.", "none on the right, small on the left.", "No comparison.",
            "none on the right; small on the left.", "small left pneumothorax.",
            "None of the films shows more.", "small left pneumothorax, no right pneumothorax.",
        )),
        *((answer, None) for answer in ("cannot be assessed.", "N/A", "not evaluated.")),
    ],
)  # fmt: skip
@pytest.mark.parametrize("mark", [": ", " - ", " \u2013 ", ":\n", " = ", ":** "])
def test_a_label_takes_the_status_of_its_answer(mark: str, answer: str, expected: str | None) -> None:
    assert found(f"Pneumothorax{mark}{answer}").get("pneumothorax") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Pneumothorax or pleural effusion: none.", {"pneumothorax": "absent", "pleural_effusion": "absent"}),
        ("Pneumothorax, pleural effusion: no.", {"pneumothorax": "absent", "pleural_effusion": "absent"}),
        ("Mild cardiomegaly, pneumothorax: none.", {"cardiomegaly": "present", "pneumothorax": "absent"}),
        ("Cardiomegaly, pneumothorax - none.", {"cardiomegaly": "present", "pneumothorax": "absent"}),
        ("Atelectasis; pneumothorax: none.", {"atelectasis": "present", "pneumothorax": "absent"}),
        ("Pneumothorax (left): none.", {"pneumothorax": "absent"}),
        ("Small left effusion - no right effusion.", {"pleural_effusion": "present"}),
        ("Pulmonary edema: No edema.", {"edema": "absent"}),
        ("Pneumothorax: possible increase.", {"pneumothorax": "present"}),
        ("Pneumothorax: not seen previously.", {"pneumothorax": "present"}),
        ("Pneumothorax: none on the right but small on the left, no effusion.",
         {"pneumothorax": "present", "pleural_effusion": "absent"}),
        ("Edema: No pulmonary edema.", {"pulmonary_edema": "absent"}),
        ("Edema: No flash.", {"pulmonary_edema": "absent", "edema": "present"}),
        ("Cardiomegaly: Heart size is normal.", {"cardiomegaly": "absent"}),
        ("Lungs: No focal consolidation.", {"consolidation": "absent"}),
        ("Heart: Normal size. Heart: Enlarged heart.", {"cardiomegaly": "present"}),
        ("Impression: no pneumonia", {"pneumonia": "absent"}),
        ("Central line: no pneumothorax.", {"central_line": "present", "pneumothorax": "absent"}),
        ("Pneumothorax: No Pleural effusion: Yes Nodule: No",
         {"pneumothorax": "absent", "pleural_effusion": "present", "nodule": "absent"}),
        ("pneumothorax: no\npleural effusion: small\nnodule: none\nEdema: yes",
         {"pneumothorax": "absent", "pleural_effusion": "present", "nodule": "absent", "edema": "present"}),
        ("Pneumothorax: no, pleural effusion: yes, nodule: no.",
         {"pneumothorax": "absent", "pleural_effusion": "present", "nodule": "absent"}),
        ("Comparison: None. FINDINGS: Pneumothorax.", {"pneumothorax": "present"}),
    ],
)  # fmt: skip
def test_an_answer_denies_what_its_label_names_and_nothing_else(text: str, expected: dict[str, str]) -> None:
    assert found(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Not consistent with pneumonia.", {"pneumonia": "absent"}),
        ("This is not compatible with pneumothorax.", {"pneumothorax": "absent"}),
        ("Inconsistent with pneumonia.", {"pneumonia": "absent"}),
        ("No findings consistent with pneumonia.", {"pneumonia": "absent"}),
        ("No focal consolidation consistent with pneumonia.",
         {"consolidation": "absent", "pneumonia": "absent"}),
        ("Consolidation consistent with pneumonia.", {"consolidation": "present", "pneumonia": "present"}),
        ("Cardiomegaly without effusion consistent with edema.",
         {"cardiomegaly": "present", "pleural_effusion": "absent", "edema": "present"}),
        ("No effusion, changes consistent with pneumonia.",
         {"pleural_effusion": "absent", "pneumonia": "present"}),
        ("No effusion with pneumonia.", {"pleural_effusion": "absent", "pneumonia": "present"}),
        ("Doubt pneumonia.", {"pneumonia": "uncertain"}),
        ("I doubt pneumonia.", {"pneumonia": "uncertain"}),
        ("Pneumonia is doubtful.", {"pneumonia": "uncertain"}),
        ("No doubt pneumonia.", {"pneumonia": "present"}),
        ("Pneumonia less likely.", {"pneumonia": "uncertain"}),
        ("Pneumonia is considered less likely.", {"pneumonia": "uncertain"}),
        ("Atelectasis, less likely pneumonia.", {"atelectasis": "present", "pneumonia": "uncertain"}),
        ("Pneumonia is not likely.", {"pneumonia": "absent"}),
    ],
)  # fmt: skip
def test_doubt_and_denial_by_likeness(text: str, expected: dict[str, str]) -> None:
    assert found(text) == expected


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("Neumot\u00f3rax: no.", "absent"),
        ("Neumot\u00f3rax: ninguno", "absent"),
        ("Neumot\u00f3rax: Negativo.", "absent"),
        ("Neumot\u00f3rax - no", "absent"),
        ("Neumot\u00f3rax: no se observa.", "absent"),
        ("Neumot\u00f3rax: no hay.", "absent"),
        ("Neumot\u00f3rax: ninguno en el lado derecho.", "absent"),
        ("Neumot\u00f3rax: no\nDerrame pleural: izquierdo", "absent"),
        ("Neumot\u00f3rax: no, derrame pleural: s\u00ed", "absent"),
        ("Neumot\u00f3rax: posible", "uncertain"),
        ("Neumot\u00f3rax: no se puede descartar.", "uncertain"),
        ("Neumot\u00f3rax poco probable.", "uncertain"),
        ("Neumot\u00f3rax: no se observan cambios.", "present"),
        ("Neumot\u00f3rax: sin cambios.", "present"),
        ("Neumot\u00f3rax: no ha cambiado.", "present"),
        ("Neumot\u00f3rax: s\u00ed.", "present"),
        ("Neumot\u00f3rax: peque\u00f1o, izquierdo.", "present"),
        ("Neumot\u00f3rax: no valorado.", None),
    ],
)
def test_a_label_in_spanish_takes_the_status_of_its_answer(text: str, status: str | None) -> None:
    said = {m.finding: m for m in strongest(SPANISH.read(text))}
    assert (said["pneumothorax"].status if "pneumothorax" in said else None) == status
    if "Derrame" in text:
        assert said["pleural_effusion"].status == "present"


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


@pytest.mark.parametrize(
    ("text", "sides"),
    [
        ("Large right pneumothorax with mediastinal shift to the left.",
         {"pneumothorax": "right", "mediastinal_shift": "left"}),
        ("Right pneumothorax and marked mediastinal shift to the left.",
         {"pneumothorax": "right", "mediastinal_shift": "left"}),
        ("Mediastinal shift to the left with right pneumothorax.",
         {"pneumothorax": "right", "mediastinal_shift": "left"}),
        ("Right effusion with atelectasis.", {"pleural_effusion": "right", "atelectasis": "right"}),
        ("Right effusion with left atelectasis.", {"pleural_effusion": "right", "atelectasis": "left"}),
        ("Effusion slightly to the left.", {"pleural_effusion": "left"}),
        ("Effusion consistent with pneumonia on the left.",
         {"pleural_effusion": "left", "pneumonia": "left"}),
        ("Bilateral effusions with atelectasis.",
         {"pleural_effusion": "bilateral", "atelectasis": "bilateral"}),
    ],
)  # fmt: skip
def test_a_side_beyond_with_or_to_the_is_of_something_else(text: str, sides: dict[str, str]) -> None:
    shift = Dictionary(
        "shift", "1", "en",
        {e.id: e for e in (*ENTRIES, entry("mediastinal_shift", "mediastinal shift"))},
    )  # fmt: skip
    assert {m.finding: m.laterality for m in Rules(shift).read(text)} == sides


def test_the_side_of_a_phrase_with_a_gap_is_that_of_its_first_words() -> None:
    rules = Rules(findings.load("chest-radiograph"))
    text = "Large right pneumothorax with mediastinal shift to the left."
    assert {m.finding: m.laterality for m in rules.read(text)} == {"tension_pneumothorax": "right"}


SPANISH_TEXT = (
    "Sin derrame. La silueta es de tama\u00f1o normal y no se observan n\u00f3dulos en el pulm\u00f3n."
)
ENGLISH_TEXT = "There is no pleural effusion. The heart is of normal size and the lungs are clear."


@pytest.mark.parametrize(
    ("rules", "texts", "words"),
    [
        (RULES, [SPANISH_TEXT] * 100, "seem to be in 'es', but small is in 'en'"),
        (RULES, [SPANISH_TEXT] * 3 + [ENGLISH_TEXT], "language: es"),
        (SPANISH, [ENGLISH_TEXT] * 3, "seem to be in 'en'"),
    ],
)
def test_reports_in_another_language_are_told_of_once_a_call(
    rules: Rules, texts: list[str], words: str
) -> None:
    with pytest.warns(Notice, match=words) as told:
        done = list(rules.extract([Report(str(i), text) for i, text in enumerate(texts)]))
    assert len(told) == 1 and len(done) == len(texts)
    assert not any(word in str(told[0].message) for word in ("derrame", "silueta", "heart"))


@pytest.mark.parametrize(
    ("rules", "texts"),
    [
        (RULES, [ENGLISH_TEXT] * 3),
        (SPANISH, [SPANISH_TEXT] * 3),
        (RULES, [ENGLISH_TEXT] * 3 + [SPANISH_TEXT] * 2),
        (RULES, ["No effusion.", "Pneumothorax: none.", "", "12.5 x 3 cm de la"]),
        (RULES, []),
    ],
)
def test_reports_in_the_language_of_the_dictionary_bring_no_warning(rules: Rules, texts: list[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list(rules.extract([Report(str(i), text) for i, text in enumerate(texts)]))) == len(texts)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from([
    "No effusion", "Small effusion", "heart is mildly enlarged", "possible pneumonia", "FINDINGS:", "\n",
    ". ", "IMPRESSION:", ", ", "; ", "Comparison: none", "\u0130\u00df \ufb01", "nodule", "<b>",
    "approx. 3 mm", ": none", "Pneumothorax: no", " - ", "\nEdema: possible",
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


@pytest.mark.parametrize(
    "unit",
    [
        "Small left effusion, no pneumothorax. ",
        "no effusion ",
        "heart ",
        "a, ",
        "Pneumothorax: none, ",
        "left, effusion: ",
    ],
)
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
