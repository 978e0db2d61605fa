from __future__ import annotations

import asyncio
import threading

import pytest
from triton_vllm import messages
from triton_vllm.link import AsyncLink, Link, make_pair


def test_messages_arrive_whole_and_in_order_both_ways() -> None:
    ours, theirs = make_pair()
    link = Link(ours)
    sent = [messages.Submit(number, "x" * number) for number in (0, 1, 100_000, 7)]

    async def echo() -> None:
        other = await AsyncLink.open(theirs)
        for _ in sent:
            other.send(await other.receive())
        with pytest.raises(EOFError):
            await other.receive()
        await other.close()

    thread = threading.Thread(target=asyncio.run, args=(echo(),))
    thread.start()
    for message in sent:
        link.send(message)
    assert [link.receive() for _ in sent] == sent
    link.close()
    thread.join(5)
    assert not thread.is_alive()


def test_a_message_that_was_cut_off_is_the_end() -> None:
    ours, theirs = make_pair()
    theirs.sendall(b"\x10\0\0\0\0\0\0\0abc")
    theirs.close()
    link = Link(ours)
    with pytest.raises(EOFError):
        link.receive()
    with pytest.raises(BrokenPipeError):
        link.send(messages.Stop())
    link.close()
