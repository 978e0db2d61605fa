"""Makes requests that are wrong for certain, each in one way; the same ones for the same seed.

Plain random choices instead of a property-testing library: nothing is to be shrunk, as each
request has one fault and a name, and the image has no such library.
"""

from __future__ import annotations

import json
import random
import string
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

PROMPT = "w00010 w00011 w00012"
# Should one of these be taken after all, it must not take long.
GOOD: dict[str, Any] = {"max_tokens": 4, "temperature": 0}
LIMIT = 2**63
# Ten times as deep, and Triton 2.49 itself dies of a stack overflow.
DEEP = 100_000


@dataclass(frozen=True)
class HttpRequest:
    """A request over HTTP, with a body of bytes that need not be JSON or text."""

    kind: str
    path: str
    body: bytes
    method: str = "POST"


@dataclass(frozen=True)
class Tensor:
    """An input over gRPC; its contents fit neither its shape nor its type unless someone cares."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    contents: tuple[Any, ...] = ()
    raw: bytes | None = None


@dataclass(frozen=True)
class GrpcRequest:
    """A request over gRPC."""

    kind: str
    model: str
    tensors: tuple[Tensor, ...]
    parameters: dict[str, Any] = field(default_factory=dict)
    version: str = ""
    stream: bool = True


Request = HttpRequest | GrpcRequest
Make = Callable[[random.Random], Any]


def any_of(*values: Any) -> Make:
    return lambda chance: chance.choice(values)


def negative(chance: random.Random) -> Any:
    return chance.choice([-1, -0.001, -1e30, -(10 ** chance.randint(1, 18)), -chance.random() - 1e-6])


def negative_integer(chance: random.Random) -> int:
    return -chance.randint(2, 2**62)


def huge_integer(chance: random.Random) -> int:
    return LIMIT << chance.randint(0, 200)


def nested(chance: random.Random) -> Any:
    """Lists and objects in one another."""
    value: Any = chance.choice([None, True, "x", 1.5, [], {}])
    for _ in range(chance.choice([1, 30, 300])):
        value = [value, chance.random()] if chance.random() < 0.5 else {word(chance): value}
    return {"x": value}


def word(chance: random.Random) -> str:
    return "".join(chance.choices(string.ascii_lowercase + "_é漢", k=chance.randint(5, 12))) + "_q"


NOT_A_NUMBER = any_of("warm", "", "1,5", "NaN", "inf", "-Infinity", "0x10", [], [1], {"a": 1}, True)
NOT_A_FLAG = any_of("maybe", 7, -1, 1.5, [], [True], {"a": 1})
NOT_A_LIST_OF_IDS = any_of("a", ["x"], [1.5], [None], [[1]], {"a": 1}, 7.5)

# What no engine takes for a parameter.
WRONG: dict[str, tuple[Make, ...]] = {
    "temperature": (negative, NOT_A_NUMBER, nested),
    "top_p": (negative, NOT_A_NUMBER, nested, any_of(0, 1.0001, 2, 1e30)),
    "top_k": (negative_integer, NOT_A_NUMBER, nested, huge_integer, any_of(1.5, -2)),
    "min_p": (negative, NOT_A_NUMBER, nested, any_of(1.0001, 5)),
    "max_tokens": (negative_integer, NOT_A_NUMBER, nested, huge_integer, any_of(0, -1, 1.5)),
    "min_tokens": (negative_integer, NOT_A_NUMBER, nested, huge_integer, any_of(-1, 5, 10**6)),
    "n": (negative_integer, NOT_A_NUMBER, nested, huge_integer, any_of(0, -1, 1.5, 2**31, 2**62)),
    "presence_penalty": (NOT_A_NUMBER, nested, any_of(-2.1, 2.1, 1e30)),
    "frequency_penalty": (NOT_A_NUMBER, nested, any_of(-2.1, 2.1, -1e30)),
    "repetition_penalty": (negative, NOT_A_NUMBER, nested, any_of(0)),
    "stop": (nested, any_of([1, 2], [None], [["x"]], "", [""], ["x", ""])),
    "stop_token_ids": (NOT_A_LIST_OF_IDS, nested),
    "allowed_token_ids": (NOT_A_LIST_OF_IDS, nested, any_of([], [-1], [10**9], [2**70])),
    "bad_words": (nested, any_of(5, [1], [None], {"a": 1})),
    "logprobs": (negative_integer, nested, huge_integer, any_of(-2, 10**6, "x", 1.5, [])),
    "prompt_logprobs": (negative_integer, nested, huge_integer, any_of(-2, 10**6, "x", 1.5, [])),
    "seed": (nested, huge_integer, any_of("x", 1.5, [], [1])),
    "ignore_eos": (NOT_A_FLAG, nested),
    "skip_special_tokens": (NOT_A_FLAG, nested),
    "include_stop_str_in_output": (NOT_A_FLAG, nested),
    "logit_bias": (nested, any_of({"x": 1}, [1], {"1": "heavy"}, {"1": None}, {str(10**9): 1}, {"-5": 1})),
    "structured_outputs": (
        any_of(5, [], "{", {"nonsense": 1}, {"choice": []}, {"json": "{"}, {"regex": "("}, {}),
        any_of({"json": {"type": "object"}, "regex": "a"}, {"grammar": "root := ("}),
    ),
    "lora_name": (any_of("no-such-adapter", 5, [], {"a": 1}), lambda chance: word(chance)),
}


def wrong_value(chance: random.Random) -> tuple[str, Any]:
    name = chance.choice(sorted(WRONG))
    return name, chance.choice(WRONG[name])(chance)


def unknown_name(chance: random.Random) -> str:
    near = ("temprature", "max_token", "topp", "Temperature", "stop_tokens", "best_off", "streams")
    return chance.choice([*near, word(chance)])


def broken_text(chance: random.Random, good: str) -> bytes:
    """Return something that is not the JSON of an object."""
    data = good.encode()
    return chance.choice(
        [
            # No beginning of an object is an object.
            data[: chance.randint(1, len(data) - 1)],
            data + chance.choice([b"}", b"]", b",", b"x", b"{}", b"\x01"]),
            good.replace('"', "'").encode(),
            good.replace(":", "=", 1).encode(),
            good.replace("{", "[", 1).encode(),
            good.encode("utf-16"),
            chance.choice([b"[]", b"[1, 2]", b"null", b"true", b"7", b'"text"', b"NaN", b"-", b"{,}"]),
            b'{"a": ' + chance.choice([b"NaN", b"Infinity", b"-Infinity", b"01", b"1e", b"+1", b".5"]) + b"}",
            b'{"a"' * chance.randint(1, 50),
            b'{"a": ' + b"[" * chance.choice([1, 500, DEEP]),
            bytes(chance.choices(range(128, 256), k=chance.randint(1, 200))),
        ]
    )


def bad_utf8(chance: random.Random) -> bytes:
    return b"w00010 " + chance.choice(
        [b"\xff", b"\xfe\xff", b"\xc3", b"\xc0\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\x80abc"]
    )


class Maker:
    """Makes the requests for one model."""

    def __init__(self, model: str, seed: int, context: int) -> None:
        self._model = model
        self._context = context
        self._chance = random.Random(seed)
        self._kinds: tuple[Callable[[], Request], ...] = (
            self.parameter,
            self.parameter,
            self.sampling_text,
            self.sampling_text,
            self.sampling_tensor,
            self.sampling_tensor,
            self.unknown_parameter,
            self.broken_body,
            self.broken_sampling,
            self.not_utf8,
            self.not_utf8_tensor,
            self.prompt,
            self.input_type,
            self.input_missing,
            self.tensor_type,
            self.tensor_shape,
            self.tensor_contents,
            self.tensor_names,
            self.raw_tensor,
            self.plain_infer,
            self.address,
        )

    def make(self) -> Request:
        return self._chance.choice(self._kinds)()

    # Over HTTP

    def parameter(self) -> Request:
        name, value = wrong_value(self._chance)
        return self._http(f"parameter {name}", {"text_input": PROMPT, "parameters": {**GOOD, name: value}})

    def sampling_text(self) -> Request:
        name, value = wrong_value(self._chance)
        text = json.dumps({**GOOD, name: value})
        return self._http(f"sampling_parameters {name}", {"text_input": PROMPT, "sampling_parameters": text})

    def unknown_parameter(self) -> Request:
        name = unknown_name(self._chance)
        value = self._chance.choice([1, "x", True, 0.5])
        values = {**GOOD, name: value}
        if self._chance.random() < 0.5:
            return self._http("unknown parameter", {"text_input": PROMPT, "parameters": values})
        text = json.dumps(values)
        return self._http("unknown parameter", {"text_input": PROMPT, "sampling_parameters": text})

    def broken_body(self) -> Request:
        body = broken_text(self._chance, json.dumps({"text_input": PROMPT, "parameters": GOOD}))
        return self._http_bytes("broken body", body)

    def broken_sampling(self) -> Request:
        text = broken_text(self._chance, json.dumps(GOOD)).decode("latin-1")
        return self._http("broken sampling_parameters", {"text_input": PROMPT, "sampling_parameters": text})

    def not_utf8(self) -> Request:
        data = bad_utf8(self._chance)
        name = self._chance.choice(["text_input", "sampling_parameters"])
        rest = b', "text_input": "w00010"' if name != "text_input" else b', "parameters": {"max_tokens": 4}'
        return self._http_bytes(f"bad UTF-8 {name}", b'{"%s": "%s"%s}' % (name.encode(), data, rest))

    def prompt(self) -> Request:
        chance = self._chance
        text, kind = chance.choice(
            [
                ("", "empty prompt"),
                (" " * chance.randint(1, 5000), "blank prompt"),
                ("w00010 " * chance.randint(self._context + 1, 5 * self._context), "over-long prompt"),
            ]
        )
        return self._http(kind, {"text_input": text, "parameters": GOOD})

    def input_type(self) -> Request:
        name, values = self._chance.choice(
            [
                ("text_input", [5, -1.5, True, None, [], {}, ["w00010", "w00011"], [5]]),
                ("stream", ["yes", 7, 1.5, {}, [], [True, True]]),
                ("exclude_input_in_output", ["yes", 7, {}, [], [True, False]]),
                ("return_logprobs", ["yes", 7, {}, [], [True, False]]),
                ("image", [5, True, "no image", "aGVsbG8=", {}]),
                ("sampling_parameters", [5, True, [], ["{}", "{}"], {"a": 1}]),
                ("embedding_request", ["{", "[]", "nonsense", "{}", 5, '{"input": 5}']),
            ]
        )
        body = {"text_input": PROMPT, "parameters": GOOD, name: self._chance.choice(values)}
        return self._http(f"input {name}", body)

    def input_missing(self) -> Request:
        body = self._chance.choice([{}, {"parameters": GOOD}, {"text": PROMPT}, {"stream": False}])
        return self._http("no prompt", body)

    def plain_infer(self) -> Request:
        """HTTP's infer takes no model that streams, and what is wrong besides must not harm it."""
        chance = self._chance
        tensor = {
            "name": chance.choice(["text_input", word(chance)]),
            "shape": chance.choice([[1], [], [0], [2, 2], [-1], [2**62], "x", [1.5]]),
            "datatype": chance.choice(["BYTES", "FP32", "INT64", "NONSENSE", 5]),
            "data": chance.choice([[PROMPT], [], [1], "x", [[["x"]]], [None], {"a": 1}]),
        }
        body = json.dumps({"inputs": chance.choice([[tensor], [tensor] * 3, [], {}, 5])}).encode()
        if chance.random() < 0.2:
            body = broken_text(chance, body.decode())
        return HttpRequest("infer", f"/v2/models/{self._model}/infer", body)

    def address(self) -> Request:
        chance = self._chance
        body = json.dumps({"text_input": PROMPT, "parameters": GOOD}).encode()
        path = chance.choice(
            [
                f"/v2/models/{word(chance).encode().hex()}/generate",
                f"/v2/models/{self._model}/versions/7/generate",
                f"/v2/models/{self._model}/versions/x/generate_stream",
                f"/v2/models/{self._model}/generates",
                "/v2/models//generate",
            ]
        )
        return HttpRequest("address", path, body)

    # Over gRPC

    def sampling_tensor(self) -> Request:
        name, value = wrong_value(self._chance)
        text = json.dumps({**GOOD, name: value}).encode()
        return self._grpc(f"tensor sampling_parameters {name}", sampling=text)

    def not_utf8_tensor(self) -> Request:
        data = bad_utf8(self._chance)
        if self._chance.random() < 0.5:
            return self._grpc("tensor bad UTF-8 text_input", prompt=data)
        return self._grpc("tensor bad UTF-8 sampling_parameters", sampling=b'{"max_tokens": 4, "x": "' + data)

    def tensor_type(self) -> Request:
        name = self._chance.choice(["text_input", "sampling_parameters", "stream", "image"])
        datatypes = {"INT32", "FP32", "UINT8", "INT64", "NONSENSE", ""} | (
            {"BYTES"} if name == "stream" else {"BOOL"}
        )
        tensor = Tensor(name, self._chance.choice(sorted(datatypes)), (1,), (1,))
        return self._grpc("tensor type", instead=tensor)

    def tensor_shape(self) -> Request:
        name = self._chance.choice(["text_input", "sampling_parameters"])
        shapes = [(), (0,), (2,), (1, 1), (-1,), (2**62,), (2, 2), (-5,), (1, 0), (2**40, 2**40), (1,) * 50]
        shape = self._chance.choice(shapes)
        return self._grpc("tensor shape", instead=Tensor(name, "BYTES", shape, (b"w00010",)))

    def tensor_contents(self) -> Request:
        number = self._chance.choice([0, 2, 100])
        return self._grpc(
            "tensor contents", instead=Tensor("text_input", "BYTES", (1,), (b"w00010",) * number)
        )

    def tensor_names(self) -> Request:
        chance = self._chance
        tensor = Tensor(
            chance.choice([word(chance), "", "TEXT_INPUT", "text_output"]), "BYTES", (1,), (b"w00010",)
        )
        return self._grpc("tensor name", instead=tensor)

    def raw_tensor(self) -> Request:
        chance = self._chance
        raw = chance.choice(
            [
                b"",
                b"\x01",
                b"\xff\xff\xff\xff" + b"w00010",
                b"\xff\xff\xff\x7f" + b"w00010",
                (100).to_bytes(4, "little") + b"w00010",
                (3).to_bytes(4, "little") + b"w00010",
                ((6).to_bytes(4, "little") + b"w00010") * 2,
                bytes(chance.choices(range(200, 256), k=chance.randint(5, 300))),
            ]
        )
        return GrpcRequest("raw tensor", self._model, (Tensor("text_input", "BYTES", (1,), raw=raw),))

    def _http(self, kind: str, body: dict[str, Any]) -> HttpRequest:
        # Half of the texts as they are, half in escapes.
        plain = self._chance.random() < 0.5
        return self._http_bytes(kind, json.dumps(body, ensure_ascii=not plain).encode())

    def _http_bytes(self, kind: str, body: bytes) -> HttpRequest:
        end = self._chance.choice(["generate", "generate_stream"])
        return HttpRequest(kind, f"/v2/models/{self._model}/{end}", body)

    def _grpc(
        self,
        kind: str,
        *,
        prompt: bytes = PROMPT.encode(),
        sampling: bytes = json.dumps(GOOD).encode(),
        instead: Tensor | None = None,
    ) -> GrpcRequest:
        tensors = {
            "text_input": Tensor("text_input", "BYTES", (1,), (prompt,)),
            "sampling_parameters": Tensor("sampling_parameters", "BYTES", (1,), (sampling,)),
        }
        if instead is not None:
            tensors[instead.name] = instead
        chosen = list(tensors.values())
        self._chance.shuffle(chosen)
        # The call for one answer takes no model that streams, whatever the request says.
        stream = self._chance.random() < 0.9
        return GrpcRequest(kind, self._model, tuple(chosen), stream=stream)
