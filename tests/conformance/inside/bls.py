"""Triton model: asks the model named in a request for a text, and waits for it."""

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        inputs = [
            pb_utils.get_input_tensor_by_name(request, name) for name in ("text_input", "sampling_parameters")
        ]
        (model,) = pb_utils.get_input_tensor_by_name(request, "MODEL").as_numpy()
        call = pb_utils.InferenceRequest(
            model_name=model.decode(), requested_output_names=["text_output"], inputs=inputs
        )
        texts = []
        for response in call.exec(decoupled=True):
            if response.has_error():
                return pb_utils.InferenceResponse(error=response.error())
            output = pb_utils.get_output_tensor_by_name(response, "text_output")
            if output is not None:
                texts.append(output)
        (text,) = texts
        return pb_utils.InferenceResponse([text])
