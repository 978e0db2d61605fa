#!/bin/bash
# Stands in for the start-up script of NVIDIA's images, which ends the same way.
export STANDIN_ENTRYPOINT=ran
exec "$@"
