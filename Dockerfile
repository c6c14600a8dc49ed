# The service and the shipped bundles; neither PyTorch nor ONNX.
#   docker build -t foldserve .
#   docker run -p 8000:8000 foldserve
#   docker run -p 8000:8000 -v $PWD/models:/models:ro foldserve

FROM python:3.11-slim-bookworm AS build
WORKDIR /build
RUN python -m venv --without-pip /opt/foldserve
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY service service
# Left out: the command line, which belongs to the offline toolkit, with what it alone needs; and
# what no session uses of ONNX Runtime (its offline tools, the C library beside the Python module)
# and of NumPy (its tests).
RUN set -e; python -m pip --python /opt/foldserve/bin/python install \
        --no-cache-dir --constraint constraints.txt .; \
    python -m pip --python /opt/foldserve/bin/python uninstall --yes --quiet \
        typer rich pygments markdown-it-py mdurl shellingham; \
    cd /opt/foldserve/lib/python3.11/site-packages; \
    rm -r /opt/foldserve/bin/foldserve onnxruntime/capi/libonnxruntime.so.* \
        onnxruntime/transformers onnxruntime/quantization onnxruntime/tools; \
    find numpy -name tests -type d -prune -exec rm -r {} +

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="foldserve" \
      org.opencontainers.image.description="A model server for networks trained with batch normalization" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/foldserve /opt/foldserve
COPY models /models
ENV PATH=/opt/foldserve/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    FOLDSERVE_HOST=0.0.0.0 \
    FOLDSERVE_PORT=8000 \
    FOLDSERVE_MODELS=/models
USER 10001:10001
WORKDIR /tmp
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["python", "-m", "service", "--check"]
CMD ["python", "-m", "service"]
