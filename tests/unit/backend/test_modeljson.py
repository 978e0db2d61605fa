from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from triton_vllm.enginefields import read_fields
from triton_vllm.errors import ModelError
from triton_vllm.modeljson import check_engine_args, read_engine_args

ARG_UTILS = '''
from typing import ClassVar, Optional

@dataclass
class EngineArgs:
    """Arguments."""
    model: str = "x"
    max_model_len: Optional[int] = None
    gpu_memory_utilization: float = 0.9
    enforce_eager: bool = Config.enforce_eager
    tokenizer: str | None = None
    hf_overrides: dict[str, Any] | Callable = field()
    _hidden: int = 0

    def method(self) -> int:
        local: int = 3
        return local

@dataclass
class AsyncEngineArgs(EngineArgs):
    enable_log_requests: bool = False

class Other:
    not_an_argument: int = 1
'''


@pytest.fixture
def fields(tmp_path: Path) -> dict[str, str]:
    path = tmp_path / "arg_utils.py"
    path.write_text(ARG_UTILS)
    return read_fields(str(path))


def test_arguments_are_read_from_the_source_of_the_engine(fields: dict[str, str]) -> None:
    assert fields == {
        "model": "str",
        "max_model_len": "int?",
        "gpu_memory_utilization": "float",
        "enforce_eager": "bool",
        "tokenizer": "str?",
        "hf_overrides": "",
        "enable_log_requests": "bool",
    }


def test_good_arguments_pass_unchanged(fields: dict[str, str]) -> None:
    args: dict[str, Any] = {
        "model": "m",
        "max_model_len": 10,
        "gpu_memory_utilization": 1,
        "hf_overrides": {"a": 1},
    }
    assert check_engine_args(args, fields) == (args, [])


def test_every_mistake_is_listed_with_the_nearest_key(fields: dict[str, str]) -> None:
    args = {
        "model": "m",
        "enforce_egaer": True,
        "gpu_memory_utilization": "lots",
        "tokenizer": 5,
        "zzz": 1,
    }
    with pytest.raises(ModelError) as caught:
        check_engine_args(args, fields)
    assert str(caught.value) == (
        'model.json: unknown key "enforce_egaer", did you mean "enforce_eager"?; '
        "\"gpu_memory_utilization\" must be a number, not 'lots'; "
        '"tokenizer" must be a string, not 5; unknown key "zzz"'
    )


def test_a_model_is_required(fields: dict[str, str]) -> None:
    with pytest.raises(ModelError, match='"model" is missing'):
        check_engine_args({}, fields)


def test_booleans_may_be_written_as_strings(fields: dict[str, str]) -> None:
    checked, _ = check_engine_args({"model": "m", "enforce_eager": "false"}, fields)
    assert checked["enforce_eager"] is False


def test_the_old_name_of_request_logging_still_works(fields: dict[str, str]) -> None:
    checked, warnings = check_engine_args({"model": "m", "disable_log_requests": True}, fields)
    assert checked == {"model": "m", "enable_log_requests": False}
    assert len(warnings) == 1


def test_a_missing_file_is_answered_in_the_known_words(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"'model\.json' containing vllm engine args must be provided"):
        read_engine_args(str(tmp_path / "model.json"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            b'{"model": "x",\n}',
            "model.json is not valid JSON: Expecting property name enclosed in double quotes at line 2 column 1",
        ),
        (b"", "model.json is not valid JSON: Expecting value at line 1 column 1"),
        (b"[]", "model.json must be a JSON object, not a list"),
        (b'{"a": 1, "a": 2}', 'model.json has the key "a" twice'),
        (b'{"a": NaN}', "model.json is not valid JSON: NaN is not a JSON number"),
    ],
)
def test_broken_json_is_located(text: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_bytes(text)
    with pytest.raises(ModelError) as caught:
        read_engine_args(str(path))
    # Python 3.13 words this one differently.
    assert (
        str(caught.value).replace(
            "Illegal trailing comma before end of object at line 1 column 14",
            "Expecting property name enclosed in double quotes at line 2 column 1",
        )
        == message
    )


def test_bytes_that_are_no_text_are_reported(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ModelError, match=r"model\.json cannot be read"):
        read_engine_args(str(path))
