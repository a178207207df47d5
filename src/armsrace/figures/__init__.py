"""The plots and tables of the book, in one palette and one style."""

from armsrace.figures.arena import heat_map, small_multiples
from armsrace.figures.attackbench import minimal_distances, optimality_over_time
from armsrace.figures.curves import histogram, lines, logits_along, robustness_curves
from armsrace.figures.filters import filter_maps
from armsrace.figures.gallery import Exhibit, gallery
from armsrace.figures.images import (
    attack_panel,
    confidence_bars,
    image_grid,
    sample_photographs,
)
from armsrace.figures.interactive import Markup, glue, live, movable, slider
from armsrace.figures.maps import (
    DigitMap,
    Marked,
    by_layer,
    decision_map,
    digit_maps,
    scatter,
    steepest_steps,
    surfaces,
)
from armsrace.figures.sound import masking_curve, players, spectrograms
from armsrace.figures.style import CYCLE, PALETTE, Plot, new_plot, styled, use_style
from armsrace.figures.tables import ThreatModel, benchmarks, photograph_races, table

__all__ = [
    "CYCLE",
    "PALETTE",
    "DigitMap",
    "Exhibit",
    "Marked",
    "Markup",
    "Plot",
    "ThreatModel",
    "attack_panel",
    "benchmarks",
    "by_layer",
    "confidence_bars",
    "decision_map",
    "digit_maps",
    "filter_maps",
    "gallery",
    "glue",
    "heat_map",
    "histogram",
    "image_grid",
    "lines",
    "live",
    "logits_along",
    "masking_curve",
    "minimal_distances",
    "movable",
    "new_plot",
    "optimality_over_time",
    "photograph_races",
    "players",
    "robustness_curves",
    "sample_photographs",
    "scatter",
    "slider",
    "small_multiples",
    "spectrograms",
    "steepest_steps",
    "styled",
    "surfaces",
    "table",
    "use_style",
]
