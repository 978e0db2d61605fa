"""Which tests make no sense in a place: without an engine, or with nothing but the ports of a server."""

from __future__ import annotations

import pytest

# What a test needs -> in which places that is there.
_PLACES = {
    "engine": {"engine"},
    "inside": {"engine", "bundle"},
}
_WHY = {
    "engine": "only a container engine knows that (layers, history, health)",
    "inside": "a server that runs elsewhere cannot be looked into, started or stopped",
}
# Fixture -> what it needs.
_FIXTURES = {
    "engine": "engine",
    "image": "engine",
    "box": "inside",
    "settings": "inside",
    "start": "inside",
}


def reason_to_leave_out(item: pytest.Item, place: str) -> str | None:
    """Return why a test is left out in a place, None where it can run there."""
    if place == "engine":
        return None
    wanted = [_FIXTURES[name] for name in getattr(item, "fixturenames", ()) if name in _FIXTURES]
    wanted += [str(word) for mark in item.iter_markers("needs") for word in mark.args]
    missing = {word for word in wanted if place not in _PLACES[word]}
    return next((_WHY[word] for word in _WHY if word in missing), None)
