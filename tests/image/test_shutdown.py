"""`docker stop` ends the server in time and in order."""

from __future__ import annotations

import pytest

from tests.image.serving import Server, log_tail, stop


@pytest.mark.needs("inside")
@pytest.mark.ends_server
def test_idle_server_ends_with_code_zero(server: Server) -> None:
    assert stop(server.container) == 0, log_tail(server.container)
