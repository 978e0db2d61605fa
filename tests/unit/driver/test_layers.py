"""Which layer has which size, and what an image adds to those counted before it."""

from __future__ import annotations

from tritonbuild.layers import count_once, pair_layers

EMPTY = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
# As an engine with BuildKit tells it, oldest first: instruction, bytes.
HISTORY = [
    ("", 130),  # docker import
    ("RUN /bin/sh -c set -eu; apt-get update -qq # buildkit", 50),
    ("ENV LANG=C.UTF-8", 0),
    ("RUN /bin/sh -c true # buildkit", 0),
    ("COPY /usr/local/ /usr/local/ # buildkit", 1850),
    ("LABEL a=b", 0),
    ("WORKDIR /opt/tritonserver", 0),
    ("USER triton-server", 0),
    ('CMD ["tritonserver"]', 0),
]


def test_each_layer_gets_the_size_of_the_step_that_made_it() -> None:
    layers = pair_layers(["base", "apt", "nothing", "python", EMPTY], HISTORY)
    assert layers == {"base": 130, "apt": 50, "nothing": 0, "python": 1850, EMPTY: 0}


def test_steps_of_the_old_builder_are_understood() -> None:
    history = [
        ("/bin/sh -c #(nop) ADD file:0123 in / ", 80),
        ('/bin/sh -c #(nop)  CMD ["bash"]', 0),
        ("/bin/sh -c #(nop)  ENV A=b", 0),
        ("/bin/sh -c #(nop) WORKDIR /x", 0),
    ]
    assert pair_layers(["base", EMPTY], history) == {"base": 80, EMPTY: 0}


def test_an_empty_layer_that_the_history_leaves_out_puts_no_size_on_a_wrong_layer() -> None:
    history = [("a base of an unknown builder", 80), ("RUN x", 5)]
    assert pair_layers(["base", EMPTY, "run"], history) == {"base": 80, "run": 5}


def test_a_history_that_does_not_fit_the_layers_tells_nothing() -> None:
    assert pair_layers(["a", "b", "c"], [("RUN x", 5)]) is None
    assert pair_layers(["a"], [("RUN x", 5), ("RUN y", 6)]) is None


def test_a_layer_counts_for_the_first_image_that_has_it() -> None:
    first = {"base": 100, "python": 1000, "server a": 10}
    second = {"base": 100, "python": 1000, "server b": 11}
    third = {"base": 100, "other python": 900, "server b": 11}
    assert count_once([first, second, third, first]) == [1110, 11, 900, 0]


def test_an_image_of_unknown_layers_hides_none_of_the_others() -> None:
    assert count_once([None, {"base": 100}, None, {"base": 100, "top": 1}]) == [None, 100, None, 1]
