"""The fast path: rules first, pixels only in doubt, disagreement is unsure, the veto last."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import UID

from radfoundry.datasets import phantom_series
from radfoundry.errors import NotEnoughData, ReadError
from radfoundry.series import classify as classifying
from radfoundry.series import rules
from radfoundry.series.assess import assess, hide
from radfoundry.series.classify import Classified, Classifier, classify, classify_study, in_batches
from radfoundry.series.find import Series, find, from_datasets
from radfoundry.series.header import SeriesHeader
from radfoundry.series.model import Logits
from radfoundry.series.pixels import Pixels
from radfoundry.series.tags import load_tags, read_header
from radfoundry.series.verdict import RuleVerdict, Verdict
from tests.series.made import mr, put
from tests.series.sorting import LABELS, TOWER, examples, sorter


@pytest.fixture(scope="module")
def model():
    return sorter()


@pytest.fixture
def silent(monkeypatch):
    """Rules that never speak."""
    monkeypatch.setattr(rules, "decide", lambda header, **_: None)


def _series(uid: str, study: str = "s", number: int = 1) -> Series:
    return Series(uid, study, "sub", "", number, f"folder/{uid}", ())


def _pixels(level: float) -> Pixels:
    slices = np.full((9, 8, 8), level, np.float32)
    return Pixels(slices, np.zeros(9, bool), np.zeros((2, 24), np.float32), np.zeros((8, 8), np.uint8))


class Reader:
    """Counts what is read; the level of the slices tells the label."""

    def __init__(self, level: float = 0.0) -> None:
        self.level, self.read = level, []

    def __call__(self, series: Series) -> Pixels:
        self.read.append(series.uid)
        return _pixels(self.level)


def _judge(model, headers, **how) -> list[Classified]:
    reader = how.pop("reader", Reader())
    classifier = Classifier(model, tower=TOWER, reader=reader, **how)
    return classifier([_series(h.uid, study=h.uid) for h in headers], headers)


def test_a_sure_header_reads_no_pixels(model, silent):
    reader = Reader()
    found = _judge(model, examples(30, seed=4).headers, reader=reader)
    sure = [c for c in found if (c.verdict.confidence or 0) >= 0.97 and not c.verdict.unsure]
    assert sure
    assert not {c.verdict.uid for c in sure if c.verdict.source == "tags"} & set(reader.read)


def test_an_empty_header_is_settled_by_pixels(model, silent):
    reader = Reader(1.0)
    (found,) = _judge(model, [SeriesHeader("1.2.3")], reader=reader)
    assert reader.read == ["1.2.3"]
    assert (found.verdict.label, found.verdict.source) == ("other:BOLD", "tags+pixels")
    (never,) = _judge(model, [SeriesHeader("1.2.3")], pixels="never")
    assert never.verdict.unsure


def test_rules_alone_say_so_and_give_no_probability():
    (found,) = _judge(None, [SeriesHeader("1", {"Modality": ("CT",)})])
    assert (found.verdict.label, found.verdict.confidence, found.verdict.source) == (
        "other:NOT-MR",
        None,
        "rules",
    )
    (silence,) = _judge(None, [SeriesHeader("2")])
    assert silence.verdict.unsure
    assert silence.verdict.label == "other:UNKNOWN"


def test_a_rule_turns_a_doubtful_verdict_and_is_traced(model, monkeypatch):
    monkeypatch.setattr(rules, "decide", lambda header, **_: RuleVerdict("r", "T2", "", "because → T2"))
    (found,) = _judge(model, [SeriesHeader("1")], pixels="never")
    assert found.verdict.modality == "T2"
    assert found.verdict.source == "rules+tags"
    assert found.verdict.trace[0] == "because → T2"


def test_a_rule_against_a_sure_network_is_unsure(model, monkeypatch):
    batch = examples(3, seed=9)
    t1 = batch.headers[batch.modality.index("T1")]
    monkeypatch.setattr(rules, "decide", lambda header, **_: RuleVerdict("r", "T2", "", "because → T2"))
    (found,) = _judge(model, [t1], pixels="never")
    assert found.verdict.unsure


def test_a_rule_for_what_the_model_never_learnt_decides(model, monkeypatch):
    monkeypatch.setattr(rules, "decide", lambda header, **_: RuleVerdict("r", "SWI", "", "SWI → SWI"))
    (found,) = _judge(model, [SeriesHeader("1")], pixels="never")
    assert (found.verdict.label, found.verdict.confidence) == ("SWI", None)


@pytest.mark.parametrize(
    ("logit", "energy", "label"),
    [(0.1, -1e9, "other:UNKNOWN"), (50.0, -1e9, "T1"), (0.1, 1e9, "T1")],
    ids=["unlike", "unlike, and sure all the same", "like"],
)
def test_what_is_unlike_all_that_was_learnt_and_without_a_likely_label_is_unknown(
    model, silent, monkeypatch, logit, energy, label
):
    """energy: the limit above which a series is unlike. Nothing is above the largest."""
    fitted = model.calibration["tags"]
    limit = replace(fitted["modality"], energy=energy, temperature=1.0)
    own = replace(model, calibration={**model.calibration, "tags": {**fitted, "modality": limit}})
    row = np.where(np.array(model.modalities) == "T1", logit, 0.0)[None]
    said = Logits(row, np.zeros((1, len(model.anatomies))), np.zeros((1, 2)))
    monkeypatch.setattr(type(own), "logits", lambda *_, **__: said)
    (found,) = _judge(own, [SeriesHeader("1")], pixels="never")
    assert found.verdict.label == label
    unlike = "unlike all series that the model was trained on" in found.verdict.trace
    assert unlike == (energy < 0) and (found.verdict.unsure or not unlike)


def test_the_veto_takes_the_last_word(model, silent, monkeypatch):
    monkeypatch.setattr(
        rules, "veto", lambda header, modality, kind: RuleVerdict("veto", "MRA", "", "Angio Flag → MRA")
    )
    (found,) = _judge(model, examples(1, seed=2).headers, pixels="never")
    assert found.verdict.modality == "MRA"
    assert found.verdict.unsure
    assert found.verdict.trace[-1] == "Angio Flag → MRA"


def test_unreadable_pixels_leave_the_header_verdict_and_say_why(model, silent):
    def reader(series: Series) -> Pixels:
        raise ReadError("no slice")

    (found,) = _judge(model, [SeriesHeader("1")], reader=reader)
    assert found.verdict.trace[-1] == "pixels not read: no slice"
    assert found.verdict.unsure
    assert found.thumbnail is None


@pytest.mark.parametrize(
    ("syntax", "why"),
    [("1.2.840.10008.1.2.4.102", "1.2.840.10008.1.2.4.102|MPEG"), ("1.2.3.4", "not a transfer syntax")],
    ids=["a film codec", "a syntax of nobody"],
)
def test_a_series_in_a_syntax_that_nobody_decodes_is_judged_by_its_header(model, tmp_path, syntax, why):
    files = [mr(k, SeriesInstanceUID="1.2.9", AngioFlag="Y") for k in (1, 2, 3)]
    for data in files:
        data.file_meta.TransferSyntaxUID = UID(syntax)
        data["PixelData"].is_undefined_length = True
        data.PixelData = encapsulate([b"\0" * 40])
        name = tmp_path / f"{data.InstanceNumber}.dcm"
        data.save_as(name, implicit_vr=False, little_endian=True, enforce_file_format=True)
    (series,) = find(tmp_path)
    (found,) = Classifier(model, "always", tower=TOWER)([series], [read_header(series, load_tags())])
    assert re.search(f"pixels not read: .*({why})", found.verdict.trace[-1])
    assert found.thumbnail is None and found.verdict.modality


def test_a_problem_of_the_series_makes_it_unsure(model, silent):
    header = examples(1, seed=2).headers[0]
    series = replace(_series(header.uid), problem="2 of 9 files unreadable")
    (found,) = Classifier(model, "never")([series], [header])
    assert found.verdict.unsure
    assert "2 of 9 files unreadable" in found.verdict.trace


def test_conformal_sets_hold_the_truth_as_often_as_promised(model, silent):
    new = examples(300, seed=11)
    found = _judge(model, new.headers, pixels="never")
    assert np.mean([t in c.verdict.candidates for t, c in zip(new.modality, found)]) > 0.9


def test_a_folder_and_a_study_in_memory_get_the_same_verdicts(tmp_path):
    data = [mr(k, EchoTime=120.0, RepetitionTime=9000.0, InversionTime=2500.0) for k in range(1, 5)]
    (filed,) = classify(put(tmp_path / "in", *data))
    (held,) = classify_study(data)
    assert filed.verdict == held.verdict
    assert filed.verdict.modality == "T2-FLAIR"


def test_assessment_counts_by_hand():
    def case(uid: str, label: str, p: float, unsure: bool = False) -> Classified:
        modality, _, kind = label.partition(":")
        verdict = Verdict(uid, modality, kind, "Brain", p, 1.0, unsure, "tags", (), (label,))
        return Classified(_series(uid, study=uid[0]), SeriesHeader(uid), verdict)

    found = [
        case("a1", "T1", 0.99),
        case("a2", "T1", 0.95),
        case("b1", "T2", 0.6, True),
        case("b2", "T2", 0.97),
    ]
    result = assess(found, ["T1", "T2", "T2", "T2"], anatomy=["Brain", "", "Knee", "Brain"])
    value = {e.name: e for e in result.estimates if e.subgroup is None}
    assert value["accuracy"].value == 0.75
    assert (value["accuracy"].n, value["accuracy"].n_clusters) == (4, 2)
    assert value["accuracy_trivial"].value == 0.75
    assert value["accuracy_when_sure"].value == pytest.approx(2 / 3)
    assert value["confident_error"].value == 0.25
    assert value["accuracy_anatomy"].value == pytest.approx(2 / 3)
    t2 = result.labels.set_index("label").loc["T2"]
    assert (t2["n"], t2["recall"], t2["precision"]) == (3, pytest.approx(2 / 3), 1.0)
    assert result.coverage["coverage"].tolist() == [0.25, 0.5, 0.75, 1.0]
    assert result.coverage["accuracy"].tolist() == pytest.approx([1, 1, 2 / 3, 3 / 4])
    assert result.errors["where"].tolist() == ["folder/a2"]


def test_modality_alone_takes_the_kinds_of_other_as_one_but_not_what_is_not_mr():
    said = ["other:DSC", "other:BOLD", "other:BOLD", "T1"]
    found = []
    for uid, label in zip("abcd", said, strict=True):
        modality, _, kind = label.partition(":")
        found.append(Classified(_series(uid, study=uid), SeriesHeader(uid), Verdict(uid, modality, kind)))
    result = assess(found, ["other:EPI", "other:BOLD", "other:NOT-MR", "T2"])
    value = {e.name: e.value for e in result.estimates if e.subgroup is None}
    assert value["accuracy"] == 0.25
    assert value["accuracy_modality"] == 0.5  # EPI taken for DSC is `other` all the same; a CT is not
    assert (value["accuracy_trivial"], value["accuracy_modality_trivial"]) == (0.25, 0.5)


def test_nothing_to_assess_is_said():
    with pytest.raises(NotEnoughData):
        assess([], [])


def test_hidden_tags_are_gone():
    values = {"SequenceName": ("x",), "Manufacturer": ("ACME",), "vendor:asl": ("pcasl",), "Rows": (4,)}
    full = SeriesHeader("1", values,
                        vendor="siemens", b_values=(0.0, 1000.0), n_directions=6, asl="pcasl")  # fmt: skip
    bare = hide(full, ["anonymised"])
    assert set(bare.values) == {"Rows"}
    assert (bare.vendor, bare.asl, bare.b_values, bare.n_directions) == ("", "", (), 0)
    standard = hide(replace(full, values={**full.values, "DiffusionBValue": (1000.0,)}), ["private"])
    assert standard.b_values == (0.0, 1000.0)
    assert hide(full, ["SequenceName"]).vendor == "siemens"


@pytest.mark.parametrize("vendor", ["siemens", "ge", "philips", "uih"])
def test_nothing_that_private_elements_told_is_left_in_a_header_without_them(vendor):
    """A header read of the same data sets after an anonymiser took their private elements is the measure."""
    tags = load_tags()
    for number in range(6):
        rng = np.random.default_rng((8, number))
        for item in phantom_series.draw_study(rng, vendor=vendor, pixels=False, max_files=4):
            (series,) = from_datasets(item.datasets, tags=tags)
            full = hide(read_header(series, tags), ["private"])
            for data in item.datasets:
                data.remove_private_tags()
            (series,) = from_datasets(item.datasets, tags=tags)
            bare = read_header(series, tags)
            for name in ("b_values", "n_directions", "asl", "n_images", "n_files", "echo_times"):
                assert getattr(full, name) == getattr(bare, name), name
            one, other = ({k: v for k, v in h.values.items() if k != "InstanceCount"} for h in (full, bare))
            assert one == other


def test_the_labels_of_the_small_sorter_are_known_labels():
    assert {label.partition(":")[0] for label in LABELS} <= {"T1", "T2", "other"}


def _knows_not_mr(model):
    """The same network, whose third label is not BOLD but what is not MR; a rule for it is believed."""
    rule = {"other:NOT-MR": np.log([0.02, 0.02, 0.96])}
    labels = (*LABELS[:2], "other:NOT-MR")
    return replace(model, modalities=labels, rules={**model.rules, "modality": rule})


@pytest.mark.parametrize("pixels", ["auto", "always"])
@pytest.mark.parametrize(
    "values",
    [{"Modality": ("US",)}, {"Modality": ("CT",)}, {"SOPClassUID": ("1.2.840.10008.5.1.4.1.1.2",)}],
    ids=["US", "CT", "the SOP class of CT"],
)
def test_the_modality_of_another_scanner_is_a_fact_that_no_model_outvotes(model, values, pixels):
    t1 = examples(3, seed=9).headers[0]
    header = replace(t1, values={**t1.values, **values})
    reader = Reader()
    (found,) = _judge(_knows_not_mr(model), [header], pixels=pixels, reader=reader)
    verdict = found.verdict
    assert (verdict.label, verdict.unsure, verdict.confidence) == ("other:NOT-MR", False, None)
    assert (verdict.source, verdict.candidates) == ("rules", ("other:NOT-MR",))
    assert reader.read == ([] if pixels == "auto" else ["1.2.0"])


def test_a_modality_that_dicom_does_not_know_is_no_fact(model):
    t1 = examples(3, seed=9).headers[0]
    header = replace(t1, values={**t1.values, "Modality": ("MRI",)})
    (found,) = _judge(_knows_not_mr(model), [header], pixels="never")
    assert found.verdict.unsure and found.verdict.source == "rules+tags"


def _t1(uid: str, **where: str) -> tuple[Series, SeriesHeader]:
    header = SeriesHeader(
        uid, {"ScanningSequence": ("SE",), "MRAcquisitionType": ("2D",), "Modality": ("MR",),
              "EchoTime": (10.0,), "RepetitionTime": (500.0,)},
        echo_times=(10.0,), repetition_times=(500.0,),
    )  # fmt: skip
    return replace(_series(uid), **where), header


@pytest.mark.parametrize(
    ("one", "other", "pair"),
    [
        ({"study": "s"}, {"study": "s"}, True),
        ({"study": "s"}, {"study": "s", "subject": "somebody else"}, False),
        ({"study": "", "study_date": "20260101"}, {"study": "", "study_date": "20260101"}, True),
        ({"study": "", "study_date": "20260101"}, {"study": "", "study_date": "20260102"}, False),
        ({"study": ""}, {"study": ""}, False),
    ],
)
def test_a_pair_before_and_after_contrast_is_of_one_person_and_one_day(one, other, pair):
    (first, second), headers = zip(_t1("1", **one), _t1("2", **other), strict=True)
    found = Classifier(None)([first, second], headers)
    assert [item.verdict.modality for item in found] == ["T1", "T1"]
    assert [item.verdict.unsure for item in found] == [pair, pair]


@pytest.mark.parametrize(("study", "sizes"), [("", [64, 64, 2]), ("one", [130])])
def test_series_without_a_study_and_a_date_are_read_some_dozens_at_a_time(study, sizes):
    series = [_series(str(number), study=study, number=number) for number in range(130)]
    batches = []

    def classifier(batch, headers):
        batches.append(len(batch))
        return list(batch)

    found = in_batches(series, lambda one: SeriesHeader(one.uid), classifier)
    assert batches == sizes and len(found) == 130


def test_a_folder_is_read_by_as_many_threads_as_asked_for(tmp_path, monkeypatch):
    put(tmp_path, *(mr(k) for k in (1, 2, 3)))
    asked = []
    real = classifying.find
    monkeypatch.setattr(
        classifying, "find", lambda *a, **how: asked.append(how["threads"]) or real(*a, **how)
    )
    one, two = classify(tmp_path), classify(tmp_path, threads=2)
    assert asked == [1, 2]
    assert [item.verdict for item in one] == [item.verdict for item in two]
