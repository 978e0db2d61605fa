"""Triton model: the first step of an ensemble, which changes the prompt."""

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            (prompt,) = pb_utils.get_input_tensor_by_name(request, "PROMPT").as_numpy()
            upper = np.array([prompt.decode().upper().encode()], dtype=np.object_)
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("UPPER", upper)]))
        return responses
