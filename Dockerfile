# Two images:   docker build --target gateway -t vision-gateway .      no torch; serves
#               docker build --target exporter -t vision-exporter .    torch for the CPU; fills the model repository
# Both run as user 1000 with a read-only root file system; deploy/README.md says how, and what was measured.

ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim-bookworm@sha256:528257d48c1da0dcecc2e725d1ae34498d60c965f1241e39cd6a85a8859bdf84


FROM ${PYTHON_IMAGE} AS build
# Cleared, both builds come from the default index: torch then brings CUDA, several GB that the exporter does not use.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PACKAGES=/opt/vision/lib/python3.11/site-packages
WORKDIR /src
# pip stays outside: nothing can be installed in what is shipped.
RUN python -m venv --without-pip /opt/vision
# What changes rarely comes first: a change of our own code does not fetch the packages again.
COPY pyproject.toml constraints.txt deploy/image/requirements.py ./


FROM build AS gateway-build
RUN python requirements.py gateway < pyproject.toml > wanted.txt \
 && python -m pip --python /opt/vision/bin/python install -c constraints.txt -r wanted.txt
COPY README.md LICENSE ./
COPY service service
COPY export export
COPY evaluation evaluation
# One distribution holds all; without torch the rest would only be commands that fail.
RUN python -m pip --python /opt/vision/bin/python install --no-deps . \
 && rm -rf ${PACKAGES}/export ${PACKAGES}/evaluation /opt/vision/bin/vision-*


FROM build AS exporter-build
RUN python requirements.py exporter < pyproject.toml > wanted.txt \
 && python -m pip --python /opt/vision/bin/python install ${TORCH_INDEX:+--extra-index-url ${TORCH_INDEX}} \
    -c constraints.txt -r wanted.txt
COPY README.md LICENSE ./
COPY service service
COPY export export
COPY evaluation evaluation
RUN python -m pip --python /opt/vision/bin/python install --no-deps .


FROM ${PYTHON_IMAGE} AS run
ENV PATH=/opt/vision/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
RUN groupadd --gid 1000 vision && useradd --uid 1000 --gid 1000 --no-create-home --home-dir /nonexistent vision
WORKDIR /


FROM run AS exporter
# A new volume takes the owner of the folder it covers: the exporter runs first and is who makes them writable.
RUN install -d -o 1000 -g 1000 /models /cache /engines
COPY --from=exporter-build /opt/vision /opt/vision
USER 1000:1000
# ONNX Runtime's wheels report home unless told not to.
ENV ORT_DISABLE_TELEMETRY=1
ENV VISION_CACHE=/cache HOME=/tmp XDG_CACHE_HOME=/cache HF_HOME=/cache/huggingface TORCH_HOME=/cache/torch
ENTRYPOINT ["vision-export"]
CMD ["--default", "--repository", "/models"]


# Last, so that a plain `docker build .` makes it.
FROM run AS gateway
COPY --from=gateway-build /opt/vision /opt/vision
COPY deploy/image/healthcheck.py /opt/vision/healthcheck.py
USER 1000:1000
# A container's loopback is reached by nobody; what is published, and to whom, is decided outside. So the gateway starts
# only with VISION_API_KEYS_FILE, or with VISION_ALLOW_ANONYMOUS=true from whoever knows that the port is not for strangers.
ENV VISION_HOST=0.0.0.0 VISION_PORT=8080 VISION_REPOSITORY=/models ORT_DISABLE_TELEMETRY=1
EXPOSE 8080 8081
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=3 CMD ["python", "/opt/vision/healthcheck.py"]
ENTRYPOINT ["vision"]
CMD ["serve"]
