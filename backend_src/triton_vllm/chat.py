"""Puts a question into the form that a chat model was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from triton_vllm.errors import ModelError, RequestError, one_line


class ChatTemplate:
    """The chat template of a model's tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        if not getattr(tokenizer, "chat_template", None):
            msg = "config.pbtxt: APPLY_CHAT_TEMPLATE is set, but the model has no chat template"
            raise ModelError(msg)
        self._tokenizer = tokenizer
        # Most templates begin with the token that many tokenizers add by themselves as well.
        begin = getattr(tokenizer, "bos_token", None) or ""
        added = tokenizer.encode("a")[:1] == [tokenizer.bos_token_id] if begin else False
        self._begin = begin if added else ""

    def render(self, messages: Sequence[Mapping[str, str]]) -> str:
        """Return the prompt that asks for the next answer. Raises RequestError."""
        try:
            # Text, not tokens: the engine tokenizes on its own thread, and a fast tokenizer
            # must not be used by two at a time.
            text: str = self._tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=True
            )
        except Exception as error:
            msg = f"the model's chat template refuses the request: {one_line(error)}"
            raise RequestError(msg) from None
        return text[len(self._begin) :] if self._begin and text.startswith(self._begin) else text

    def ask(self, question: str) -> str:
        """Return the prompt of a conversation that begins with `question`."""
        return self.render([{"role": "user", "content": question}])
