"""Prompts of about 31 tokens, no two alike, the same for every target."""

from __future__ import annotations

from benchmarks.models import word

PROMPT_TOKENS = 31
# Prompts take their words from the first part of the vocabulary, which every model has.
_FIRST, _WORDS = 10, 7900
_SUBJECTS = (
    "river",
    "bridge",
    "market",
    "garden",
    "engine",
    "library",
    "harbour",
    "mountain",
    "orchard",
    "station",
)
_MOODS = ("quiet", "busy", "old", "bright", "cold", "famous", "hidden", "narrow", "empty", "green")


def make_prompt(counting: str, seed: int, worker: int, turn: int) -> str:
    """Return the prompt of a worker's turn."""
    number = seed * 1_000_003 + worker * 10_007 + turn
    if counting == "words":
        return " ".join(word(_FIRST + _mix(number * 64 + place) % _WORDS) for place in range(PROMPT_TOKENS))
    mood, subject = _MOODS[number % 10], _SUBJECTS[number // 10 % 10]
    return (
        f"Note {_mix(number) % 10_000}: write a short and friendly story about a {mood} {subject} "
        "that a traveller finds early in the morning, and end it well."
    )


def _mix(number: int) -> int:
    # A fixed hash: the same on every machine and in every run.
    number = (number ^ (number >> 16)) * 0x45D9F3B & 0xFFFFFFFF
    number = (number ^ (number >> 16)) * 0x45D9F3B & 0xFFFFFFFF
    return number ^ (number >> 16)
