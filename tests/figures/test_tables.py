"""Tables print what they are given, safely, with the threat model beneath."""

from typing import Any

import pytest
import torch

from armsrace.figures import ThreatModel, table

THREAT = ThreatModel("weights", "any wrong class", "linf", 0.25, "1 gradient", "500 images")


def test_threat_model_states_budget_with_its_norm() -> None:
    assert THREAT.budget == "‖δ‖∞ ≤ 0.25"
    assert ThreatModel("", "", "l2", None, "", "").budget == "‖δ‖₂ ≤ ε"
    assert ThreatModel("", "", "l2", "least", "", "").budget == "the smallest ‖δ‖₂"
    for text in ("weights", "any wrong class", "‖δ‖∞ ≤ 0.25", "1 gradient", "500 images"):
        assert text in THREAT.sentence and text in THREAT._repr_html_()


@pytest.mark.parametrize(
    ("norm", "epsilon", "rule"),
    [
        ("l3", 0.1, "norm must be one of"),
        ("l2", -1, "epsilon must be >= 0"),
        ("l2", "small", "epsilon must be one of"),
    ],
)
def test_threat_model_refuses(norm: str, epsilon: Any, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        ThreatModel("", "", norm, epsilon, "", "")


def test_table_prints_numbers_and_escapes_text() -> None:
    markup = table(
        [{"attack": "a < b", "n": 10000, "L2": 1.23456}], caption="C", threat=THREAT
    ).html
    for cell in ("<td>a &lt; b</td>", "<td>10000</td>", "<td>1.235</td>", "<caption>C</caption>"):
        assert cell in markup
    assert THREAT.sentence in markup
    assert "Threat" not in table([{"a": 1}], caption="C").html


def test_table_prints_fractions_as_asked() -> None:
    rows = [{"n": 3, "accuracy": 0.1234, "error": torch.tensor(0.8766), "k": torch.tensor(2)}]
    markup = table(rows, caption="C", numbers=".1%").html
    for endless in (torch.tensor(torch.inf), "inf", f"{torch.inf:.1%}"):
        assert "<td>∞</td>" in table([{"median": endless}], caption="C").html
    assert "<td>∞ / 85%</td>" in table([{"median": "inf / 85%"}], caption="C").html
    assert "<td>information</td>" in table([{"median": "information"}], caption="C").html
    assert "<td>3</td><td>12.3%</td><td>87.7%</td><td>2</td>" in markup


@pytest.mark.parametrize("rows", [[], [{"a": 1}, {"b": 1}]])
def test_table_refuses_ragged_rows(rows: list[dict[str, object]]) -> None:
    with pytest.raises(ValueError, match="same keys"):
        table(rows, caption="C")
