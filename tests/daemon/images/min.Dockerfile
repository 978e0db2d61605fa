# Stands in for nvcr.io/nvidia/tritonserver:YY.MM-py3-min.
ARG DEBIAN
FROM ${DEBIAN}
# What its images have: a start-up script, Ubuntu's own user of uid 1000, CUDA, some Python package.
COPY entrypoint.sh /opt/nvidia/nvidia_entrypoint.sh
RUN set -eu; \
    chmod 755 /opt/nvidia/nvidia_entrypoint.sh; \
    groupadd --gid 1000 ubuntu; \
    useradd --uid 1000 --gid 1000 --create-home ubuntu; \
    mkdir -p /usr/local/cuda/bin /usr/local/cuda/lib64 /usr/local/lib/python3.11/dist-packages/numpy-0.1.dist-info; \
    head -c 3000000 /dev/zero > /usr/local/cuda/lib64/libcublas.so.12; \
    printf 'Metadata-Version: 2.1\nName: numpy\nVersion: 0.1\n' \
        > /usr/local/lib/python3.11/dist-packages/numpy-0.1.dist-info/METADATA
ENV PATH=/usr/local/cuda/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    CUDA_VERSION=12.6.0.022
ENTRYPOINT ["/opt/nvidia/nvidia_entrypoint.sh"]
