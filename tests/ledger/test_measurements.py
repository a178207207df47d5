"""Measurements are recorded with what they were made on, shown, stored, and checked."""

import json
import re
import sys

import pytest

from armsrace import ledger, zoo
from armsrace.evaluation import arena
from armsrace.ledger import Recording, measurements, tables
from armsrace.ledger.claims import load_claims
from armsrace.resources import CLONE, chapter_file, data_root

ID = "goodfellow-softmax-error"


@pytest.fixture(autouse=True)
def session(monkeypatch, tmp_path):
    monkeypatch.setattr(measurements, "SESSION", {})
    monkeypatch.setattr(tables, "SESSION", measurements.SESSION)
    monkeypatch.setattr(measurements, "measured_path", lambda profile: tmp_path / f"{profile}.json")
    return tmp_path


def store(folder, profile: str, **values: float) -> None:
    rows = [
        {
            "id": key,
            "value": value,
            "n": 10,
            "data": "MNIST",
            "device": "CPU",
            "date": "2026-01-01",
            "commit": "a",
        }
        for key, value in values.items()
    ]
    (folder / f"{profile}.json").write_text(json.dumps(rows))


def test_measure_returns_records_and_shows() -> None:
    assert ledger.measure(ID, 99.5, n=500) == 99.5
    found = measurements.SESSION[ID]
    assert found.n == 500 and "MNIST" in found.data and found.device and found.date
    assert found.commit == measurements.code_version() != ""
    bundle = found._repr_mimebundle_()
    assert bundle[measurements.MIME]["value"] == 99.5
    shown = str(bundle["text/html"])
    assert "reproduced" in shown and "99.5 % error" in shown and "99.9 % error" in shown
    assert "n = 500" in shown and "Goodfellow et al. 2015" in shown


def test_a_remembered_number_is_not_shown_as_the_papers() -> None:
    ledger.measure("goodfellow-rubbish", 95.0, n=500)
    shown = str(measurements.SESSION["goodfellow-rubbish"]._repr_mimebundle_()["text/html"])
    assert "98.35" not in shown and "not yet checked" in shown
    assert "98.35" not in ledger.table("goodfellow-rubbish").markup


@pytest.mark.parametrize(
    ("arguments", "error", "rule"),
    [
        (("no-such-claim", 1.0, 1), KeyError, "id must be a claim"),
        ((ID, float("nan"), 1), ValueError, "value must be finite"),
        ((ID, 1.0, 0), ValueError, "n must be >= 1"),
    ],
)
def test_bad_measurements(arguments, error, rule) -> None:
    id, value, n = arguments
    with pytest.raises(error, match=rule):
        ledger.measure(id, value, n=n)


def test_table_shows_both_profiles(session) -> None:
    store(session, "paper", **{ID: 99.87})
    ledger.measure(ID, 99.25, n=300)
    markup = ledger.table(ID).markup
    assert "99.25" in markup and "99.87" in markup and "n = 300" in markup
    with pytest.raises(KeyError, match="no-such-claim"):
        ledger.table("no-such-claim")


def test_page_lists_every_claim_and_counts(session) -> None:
    store(session, "reader", **{ID: 99.5})
    markup = ledger.page().markup
    assert all(f'id="claim-{id}"' in markup for id in load_claims())
    assert f"{len(load_claims())} claims" in markup and "1 reproduced" in markup


def test_page_leads_to_the_cell_that_measured(session) -> None:
    store(session, "reader", **{ID: 99.5})
    other = next(id for id in load_claims() if id != ID)
    chapters = {id: chapter_file(claim.chapter).stem for id, claim in load_claims().items()}
    markup = ledger.page().markup
    assert re.search(rf'href="../chapters/{chapters[ID]}\.html#measured-{ID}"', markup)
    assert re.search(rf'href="../chapters/{chapters[other]}\.html#claim-{other}"', markup)
    ledger.measure(ID, 99.5, n=1)
    hidden = measurements.SESSION[ID].model_copy(update={"shown": False})
    assert tables._source(load_claims()[ID], {ID: hidden}).count(f"#claim-{ID}") == 1
    shown = str(measurements.SESSION[ID]._repr_mimebundle_()["text/html"])
    assert f'id="measured-{ID}"' in shown


def test_verdicts_prefer_what_this_site_measured(session) -> None:
    store(session, "paper", **{ID: 12.0})
    assert ledger.verdicts()[ID] is ledger.Verdict.NOT_REPRODUCED
    store(session, "reader", **{ID: 99.5})
    assert ledger.verdicts()[ID] is ledger.Verdict.REPRODUCED
    assert sum(found > 0 for found in ledger.verdicts().values()) == 1


def test_check_names_what_left_its_band_or_is_missing(session) -> None:
    claims = load_claims()
    good = {
        claim.id: sum(claim.band or claim.direction) / 2
        for claim in claims.values()
        if (claim.band or claim.direction) and not (claim.above or claim.below)
    }
    store(session, "reader", **good | {ID: 12.0})
    problems = ledger.check("reader")
    assert [line for line in problems if line.startswith(f"{ID}: expected reproduced, got not")]
    assert not any(line.startswith("goodfellow-fgsm-error:") for line in problems)
    del good[ID]
    store(session, "reader", **good)
    assert any(ID in line and "not measured" in line for line in ledger.check("reader"))


@pytest.mark.parametrize("text", ["", '[{"id": "x"', "{}", "5", '[{"id": "x"}]', "\0"])
def test_a_damaged_file_is_named(session, text: str) -> None:
    (session / "reader.json").write_text(text)
    with pytest.raises(ValueError, match=r"reader\.json cannot be read, delete it"):
        ledger.check("reader")


def test_a_claim_on_data_that_is_missing_is_no_problem(session, monkeypatch) -> None:
    id = "goodfellow-cifar-error"
    assert load_claims()[id].data == "cifar10"
    monkeypatch.setattr(tables.datasets, "available", lambda name: name == "mnist")
    assert not any(id in line for line in ledger.check("reader"))
    monkeypatch.setattr(tables.datasets, "available", lambda name: True)
    assert any(id in line for line in ledger.check("reader"))
    monkeypatch.setattr(tables.datasets, "available", lambda name: name == "mnist")
    store(session, "reader", **{id: 3.0})
    assert any(id in line for line in ledger.check("reader")), "a measured one is always judged"


def test_a_script_of_the_benchmarks_is_named_with_its_arguments(session, monkeypatch) -> None:
    monkeypatch.setattr(measurements, "_path", lambda study: session / f"{study}.json")
    script = str(CLONE / "benchmarks" / "measure.py")
    monkeypatch.setattr(sys, "argv", [script, "madry", "--digits", "300"])
    ledger.measure(ID, 99.25, n=300)
    expected = "python benchmarks/measure.py madry --digits 300"
    assert measurements.SESSION[ID].command == expected
    assert f"<code>{expected}</code>" in ledger.table(ID).markup
    found = ledger.record("study", "one", {"a": [1.0]}, settings="", n=1, data="")
    assert found.command == expected == ledger.recorded("study")["one"].command
    monkeypatch.setattr(sys, "argv", ["ipykernel_launcher.py"])
    ledger.measure(ID, 99.25, n=300)
    assert not measurements.SESSION[ID].command


STUDY = Recording(
    columns={"kept": [0.5]}, settings="40 steps", n=300, data="MNIST, 300 test images, from a disk",
    device="an old machine", date="2020-02-02", commit="abc1234", command="python old.py --n 300",
)  # fmt: skip


def test_a_recorded_number_keeps_its_own_provenance() -> None:
    ledger.measure(ID, 99.25, n=STUDY.n, recording=STUDY)
    found = measurements.SESSION[ID]
    for name in ("data", "device", "date", "commit", "command"):
        assert getattr(found, name) == getattr(STUDY, name)
    assert found.note == "recorded; 40 steps"
    markup = ledger.table(ID).markup
    for text in ("an old machine", "2020-02-02", "abc1234", "<code>python old.py --n 300</code>"):
        assert text in markup
    assert "<i>recorded; 40 steps</i>" in markup and "from a disk" not in markup
    ledger.measure(ID, 99.25, n=9, recording=STUDY, data="other images", note="no targets")
    found = measurements.SESSION[ID]
    assert found.data == "other images" and found.note == "recorded; 40 steps; no targets"


def test_a_note_is_printed_in_the_table_and_escaped() -> None:
    ledger.measure(ID, 99.25, n=300, note="n < 1,000")
    assert "<i>n &lt; 1,000</i>" in ledger.table(ID).markup
    ledger.measure(ID, 99.25, n=300)
    assert "<i>" not in ledger.table(ID).markup


def test_outcomes_of_the_arena_as_a_recording() -> None:
    outcomes = arena.read()
    found = Recording.from_outcomes(outcomes[outcomes["defense"] == "rbf"])
    assert found.n == outcomes["image"].nunique() and found.data == outcomes["data"].iloc[0]
    assert found.date.startswith(min(outcomes["date"])[:4]) and found.device.startswith("CPU")
    assert found.command == f"armsrace arena run --digits {found.n} --defense rbf"
    two = outcomes[outcomes["defense"].isin(["rbf", "abs"])].copy()
    two["commit"], two["date"] = "one", "2020-02-02"
    two.loc[two["defense"] == "abs", ["commit", "date"]] = "two", "2020-03-03"
    found = Recording.from_outcomes(two)
    assert found.commit == "one, two" and found.date == "2020-02-02 to 2020-03-03"


def test_networks_cards_as_a_recording() -> None:
    card = zoo.card("s3-cnn")
    found = Recording.from_cards(card)
    assert (found.n, found.date, found.command) == (card.test_images, card.trained, card.recipe)
    assert found.data == f"MNIST, {card.test_images:,} test images"
    assert found.commit == f"torch {card.torch}" and found.device == card.device
    both = Recording.from_cards(card, zoo.card("rbf"))
    assert both.command == f"{card.recipe}, {zoo.card('rbf').recipe}"


STUDIES = sorted(path.stem for path in (data_root() / "measured").glob("*.json"))


@pytest.mark.parametrize("study", [name for name in STUDIES if name != "paper"])
def test_every_shipped_recording_names_its_command(study: str) -> None:
    for name, found in ledger.recorded(study).items():
        program, script = found.command.split()[:2]
        assert program == "python" and (CLONE / script).is_file(), name
        assert not re.search(r"(^|[\s='])/", found.command), "a path of one machine"
        assert found.provenance.endswith(found.command)


def test_a_command_keeps_the_name_of_a_file_but_not_its_folder(monkeypatch, tmp_path) -> None:
    script, weights = str(CLONE / "benchmarks" / "prototypes.py"), str(tmp_path / "some.h5")
    given = [script, "gtlvq", "--weights", weights, f"--other={weights}", "--digits=7", "a/b.txt"]
    monkeypatch.setattr(sys, "argv", given)
    assert measurements.command() == (
        "python benchmarks/prototypes.py gtlvq --weights some.h5 --other=some.h5 --digits=7 a/b.txt"
    )


def test_every_shipped_number_of_the_paper_profile_names_its_command() -> None:
    rows = json.loads((data_root() / "measured" / "paper.json").read_text())
    for row in rows:
        program, script, name = row.get("command", "").split()[:3] or [""] * 3
        assert program == "python" and (CLONE / script).is_file() and name, row["id"]
