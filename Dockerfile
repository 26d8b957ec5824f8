# The coder's desk on a CPU, as an unprivileged user. It serves the shipped coder and those on the tiny base model;
# `--build-arg EXTRAS=desk,llm` brings torch for the coders of larger models:
#
#   docker build -t concept-icd .
#   docker run --rm -p 127.0.0.1:8321:8321 -e CONCEPT_ICD_TOKEN=$(openssl rand -hex 16) \
#       -v FOLDER_OF_A_CODER:/coder:ro -v FOLDER_OF_NOTES:/notes:ro -v record:/record concept-icd
#
# The container needs no network but its port: --network with no way out is fine. Its root may be read-only (--read-only
# --tmpfs /tmp); all that it writes is /record. With CONCEPT_ICD_RECORD=postgresql://... it writes nothing at all.
FROM python:3.11-slim AS build
WORKDIR /src
ARG EXTRAS=desk
# CPU builds of torch: without this index pip brings CUDA libraries of several GB.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY . .
RUN python -m venv /opt/desk \
    && /opt/desk/bin/pip install --no-cache-dir --extra-index-url "$TORCH_INDEX" -c constraints.txt ".[$EXTRAS]"

FROM python:3.11-slim
COPY --from=build /opt/desk /opt/desk
RUN useradd --system --uid 10001 --create-home desk && install -d -o desk /record /notes /coder
USER desk
WORKDIR /home/desk
ENV PATH=/opt/desk/bin:$PATH \
    HF_HUB_OFFLINE=1 \
    CONCEPT_ICD_RECORD=sqlite:////record/record.sqlite
VOLUME /record
EXPOSE 8321
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8321/healthz', timeout=4)"]
# Beyond loopback the desk refuses to start without CONCEPT_ICD_TOKEN, or --tokens FILE.
ENTRYPOINT ["concept-icd", "serve", "--host", "0.0.0.0"]
CMD ["--notes", "/notes", "--coder", "/coder"]
