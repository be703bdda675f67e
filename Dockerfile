# An image with the command `diffenc` and the versions that requirements/ pins; launch/gke.sh runs it.
#
#   docker build --build-arg=EXTRA=tpu --tag=IMAGE .      # or cuda, cpu
#
# Relative paths in --config start in the folder that holds configs/.
FROM python:3.12-slim

ARG EXTRA=tpu

WORKDIR /home/diffenc
RUN useradd --uid=1000 --home-dir=/home/diffenc diffenc && chown diffenc:diffenc /home/diffenc

# The requirements change less often than the package, so that their layer is reused.
COPY requirements requirements
RUN case "$EXTRA" in \
        tpu | cuda) lock=requirements/lock-$EXTRA.txt ;; \
        cpu) lock=requirements/lock.txt ;; \
        *) echo "EXTRA=$EXTRA must be tpu, cuda or cpu" >&2; exit 2 ;; \
    esac && pip install --no-cache-dir --requirement "$lock"

COPY pyproject.toml setup.py README.md LICENSE source/
COPY configs source/configs
COPY diffenc_jax source/diffenc_jax
RUN pip install --no-cache-dir --no-deps ./source && rm -r source
COPY configs configs

USER 1000
ENTRYPOINT ["diffenc"]
