"""Puts a question into the form that a chat model was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from triton_vllm.errors import ModelError, RequestError, one_line
from triton_vllm.requests import GenerateRequest


class ChatTemplate:
    """The chat template of a model's tokenizer, if it has one."""

    def __init__(self, tokenizer: Any, *, always: bool) -> None:
        """With `always`, a plain text is a user's question. Raises ModelError without a template."""
        self._available = bool(getattr(tokenizer, "chat_template", None))
        self._always = always
        if always and not self._available:
            msg = "config.pbtxt: APPLY_CHAT_TEMPLATE is set, but the model has no chat template"
            raise ModelError(msg)
        self._tokenizer = tokenizer
        # Most templates begin with the token that many tokenizers add by themselves as well.
        begin = getattr(tokenizer, "bos_token", None) or ""
        added = tokenizer.encode("a")[:1] == [tokenizer.bos_token_id] if self._available and begin else False
        self._begin = begin if added else ""

    def write(self, request: GenerateRequest) -> str:
        """Return the prompt of a request's messages or text. Raises RequestError."""
        if request.messages:
            return self._render(request.messages)
        if self._always:
            return self._render([{"role": "user", "content": request.prompt}])
        return request.prompt

    def _render(self, messages: Sequence[Mapping[str, Any]]) -> str:
        if not self._available:
            msg = 'input "messages" needs a chat template, and the model has none; use "text_input"'
            raise RequestError(msg)
        try:
            # Text, not tokens: the engine tokenizes itself.
            text: str = self._tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=True
            )
        except Exception as error:
            msg = f"the model's chat template refuses the request: {one_line(error)}"
            raise RequestError(msg) from None
        return text[len(self._begin) :] if self._begin and text.startswith(self._begin) else text
