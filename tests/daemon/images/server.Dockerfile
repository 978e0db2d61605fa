# Stands in for nvcr.io/nvidia/tritonserver:YY.MM-py3: the real server of a nvidia-pytriton wheel, and what an
# image of NVIDIA's has besides.
ARG MIN
ARG SERVER
FROM ${SERVER} AS server
FROM ${MIN}
COPY --from=server --chown=1000:1000 /opt/tritonserver /opt/tritonserver
RUN set -eu; \
    cd /opt/tritonserver; \
    # Two libraries that the server links to lie where Debian packages install theirs; one is DCGM's.
    mv lib/libdcgm* lib/libb64* /usr/lib/x86_64-linux-gnu/; \
    touch /usr/lib/x86_64-linux-gnu/libdcgmmodulehealth.so.3.3.6; \
    ln -s libdcgmmodulehealth.so.3.3.6 /usr/lib/x86_64-linux-gnu/libdcgmmodulehealth.so.3; \
    mkdir -p backends/onnxruntime include/triton python third-party-src; \
    echo decoy > backends/onnxruntime/libtriton_onnxruntime.so; \
    echo decoy > include/triton/tritonserver.h; \
    echo decoy > python/tritonserver-2.49.0-py3-none-any.whl; \
    echo decoy > third-party-src/src.tar.gz; \
    echo licence > NVIDIA_Deep_Learning_Container_License.pdf; \
    echo 2.49.0 > TRITON_VERSION
