"""What the synthetic speaker knows: the sounds of ten words, and how each is made.

Formants of the vowels after Peterson and Barney 1952, Table II (men); all other numbers are ours,
chosen so that the words tell themselves apart. Half a second at 8 kHz holds no more than a likeness
of the English digits.
"""

from __future__ import annotations

from typing import NamedTuple


class Phone(NamedTuple):
    """One speech sound: three resonances, what excites them, and how long it lasts.

    first, second, third: formants in Hz. voice, noise: amplitudes of the two sources, from 0 to 1.
    low, high: the band of the noise in Hz. seconds: its mean length.
    """

    first: float
    second: float
    third: float
    voice: float = 1.0
    noise: float = 0.0
    low: float = 0.0
    high: float = 4000.0
    seconds: float = 0.11


PHONES = {
    "i": Phone(270, 2290, 3010),
    "ih": Phone(390, 1990, 2550, seconds=0.09),
    "e": Phone(480, 2100, 2600, seconds=0.12),
    "eh": Phone(530, 1840, 2480, seconds=0.09),
    "a": Phone(730, 1090, 2440, seconds=0.12),
    "uh": Phone(640, 1190, 2390, seconds=0.12),
    "schwa": Phone(500, 1400, 2400, 0.8, seconds=0.07),
    "o": Phone(570, 840, 2410, seconds=0.13),
    "u": Phone(300, 870, 2240, seconds=0.16),
    "w": Phone(300, 610, 2200, 0.7, seconds=0.07),
    "r": Phone(310, 1060, 1380, 0.7, seconds=0.07),
    "n": Phone(250, 1450, 2300, 0.4, seconds=0.08),
    "z": Phone(300, 1400, 2500, 0.3, 0.4, 2800, 4000, 0.07),
    "v": Phone(280, 1000, 2200, 0.35, 0.1, 1000, 4000, 0.05),
    "s": Phone(300, 1600, 2500, 0.0, 0.6, 2800, 4000, 0.09),
    "f": Phone(300, 1000, 2200, 0.0, 0.25, 1000, 4000, 0.08),
    "th": Phone(300, 1400, 2500, 0.0, 0.15, 1500, 4000, 0.07),
    "stop": Phone(300, 1500, 2500, 0.0, 0.0, seconds=0.05),
    "t": Phone(300, 1600, 2600, 0.0, 0.6, 2000, 4000, 0.03),
    "k": Phone(300, 1800, 2400, 0.0, 0.5, 1200, 2600, 0.03),
}
WORDS = {
    "zero": ("z", "ih", "r", "o"),
    "one": ("w", "uh", "n"),
    "two": ("t", "u"),
    "three": ("th", "r", "i"),
    "four": ("f", "o", "r"),
    "five": ("f", "a", "ih", "v"),
    "six": ("s", "ih", "stop", "k", "s"),
    "seven": ("s", "eh", "v", "schwa", "n"),
    "eight": ("e", "ih", "stop", "t"),
    "nine": ("n", "a", "ih", "n"),
}
