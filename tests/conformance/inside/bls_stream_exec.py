"""Triton model: what bls_stream does, where a decoupled model cannot be a coroutine."""

import numpy as np
import triton_python_backend_utils as pb_utils

MODEL = "text"


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            self.answer(request)

    def answer(self, request):
        sender = request.get_response_sender()
        sampling = pb_utils.get_input_tensor_by_name(request, "sampling_parameters")
        for prompt in pb_utils.get_input_tensor_by_name(request, "PROMPTS").as_numpy():
            self.stream(sender, prompt, sampling)
        sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def stream(self, sender, prompt, sampling):
        call = pb_utils.InferenceRequest(
            model_name=MODEL,
            requested_output_names=["text_output"],
            inputs=[
                pb_utils.Tensor("text_input", np.array([prompt], dtype=np.object_)),
                pb_utils.Tensor("stream", np.array([True])),
                sampling,
            ],
        )
        for response in call.exec(decoupled=True):
            if response.has_error():
                sender.send(pb_utils.InferenceResponse(error=response.error()))
                return
            output = pb_utils.get_output_tensor_by_name(response, "text_output")
            if output is not None:
                source = pb_utils.Tensor("SOURCE", np.array([prompt], dtype=np.object_))
                sender.send(pb_utils.InferenceResponse([source, output]))
