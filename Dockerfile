# The service and the shipped bundles; neither PyTorch nor ONNX.
#   docker build -t foldserve .
#   docker run -p 8000:8000 foldserve
#   docker run -p 8000:8000 -v $PWD/models:/models:ro foldserve

FROM python:3.11-slim-bookworm AS build
WORKDIR /build
RUN python -m venv --without-pip /opt/foldserve
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY service service
# Left out: the command line, which belongs to the offline toolkit, with what it alone needs; ONNX
# Runtime's offline tools, with what they alone need, and the C library beside its Python module;
# Pillow's AVIF, fonts and colour management; NumPy's tests, headers and Fortran compiler; simdjson's source.
RUN set -e; python -m pip --python /opt/foldserve/bin/python install \
        --no-cache-dir --constraint constraints.txt .; \
    python -m pip --python /opt/foldserve/bin/python uninstall --yes --quiet \
        typer rich pygments markdown-it-py mdurl shellingham flatbuffers packaging protobuf; \
    cd /opt/foldserve/lib/python3.11/site-packages; \
    rm -r /opt/foldserve/bin/foldserve onnxruntime/capi/libonnxruntime.so.* \
        onnxruntime/transformers onnxruntime/quantization onnxruntime/tools \
        PIL/_avif* PIL/_imagingft* PIL/_imagingcms* pillow.libs/libavif* pillow.libs/libfreetype* \
        pillow.libs/libharfbuzz* pillow.libs/libbrotli* pillow.libs/liblcms* \
        numpy/f2py numpy/_core/include numpy/_core/_simd* numpy/_core/_*_tests* \
        simdjson/simdjson.cpp simdjson/simdjson.h simdjson/*.pyx; \
    find numpy -name tests -type d -prune -exec rm -r {} +
# Symbols for debuggers, of the wheels whose libraries bear it to be stripped.
RUN set -e; apt-get update -qq; apt-get install --yes --quiet --no-install-recommends binutils; \
    cd /opt/foldserve/lib/python3.11/site-packages; \
    strip --strip-unneeded csimdjson.abi3.so $(find uvloop httptools PIL -name '*.so')
# What the image holds of Python, in the words of CycloneDX; the same bytes from the same constraints.
RUN set -e; python -m venv /opt/cyclonedx; \
    /opt/cyclonedx/bin/pip install --no-cache-dir --constraint constraints.txt cyclonedx-bom; \
    /opt/cyclonedx/bin/cyclonedx-py environment /opt/foldserve/bin/python \
        --pyproject pyproject.toml --output-reproducible --output-file /opt/foldserve/sbom.cdx.json

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="foldserve" \
      org.opencontainers.image.description="A model server for networks trained with batch normalization" \
      org.opencontainers.image.licenses="Apache-2.0" \
      foldserve.sbom="/opt/foldserve/sbom.cdx.json"
COPY --from=build /opt/foldserve /opt/foldserve
# The interpreter's own library comes without bytecode, and nothing can be written when it serves: what a
# start needs would be compiled at each.
RUN ["/opt/foldserve/bin/python", "-c", "import service.process, service.app, uvicorn.server, uvloop"]
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
