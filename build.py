#!/usr/bin/env python3
"""Build, prove and describe container images of Triton Inference Server with vLLM."""

import sys

from tritonbuild.bootstrap import ensure_environment

if __name__ == "__main__":
    ensure_environment()
    from tritonbuild.cli import main

    sys.exit(main())
