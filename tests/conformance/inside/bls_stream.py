"""Triton model: passes on what another model streams for each of several prompts."""

import asyncio

import numpy as np
import triton_python_backend_utils as pb_utils

MODEL = "text"


class TritonPythonModel:
    async def execute(self, requests):
        await asyncio.gather(*map(self.answer, requests))

    async def answer(self, request):
        sender = request.get_response_sender()
        sampling = pb_utils.get_input_tensor_by_name(request, "sampling_parameters")
        prompts = pb_utils.get_input_tensor_by_name(request, "PROMPTS").as_numpy()
        await asyncio.gather(*(self.stream(sender, prompt, sampling) for prompt in prompts))
        sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    async def stream(self, sender, prompt, sampling):
        call = pb_utils.InferenceRequest(
            model_name=MODEL,
            requested_output_names=["text_output"],
            inputs=[
                pb_utils.Tensor("text_input", np.array([prompt], dtype=np.object_)),
                pb_utils.Tensor("stream", np.array([True])),
                sampling,
            ],
        )
        for response in await call.async_exec(decoupled=True):
            if response.has_error():
                sender.send(pb_utils.InferenceResponse(error=response.error()))
                return
            output = pb_utils.get_output_tensor_by_name(response, "text_output")
            if output is not None:
                source = pb_utils.Tensor("SOURCE", np.array([prompt], dtype=np.object_))
                sender.send(pb_utils.InferenceResponse([source, output]))
