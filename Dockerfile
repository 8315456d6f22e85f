# The compiled program on Debian bookworm. The model is not inside: it is fetched at the first start into the volume of the cache.
#
#   docker build -t tracebond .
#   docker run --rm tracebond --help
#   docker run --rm -v tracebond-home:/home/node/.tracebond tracebond access-keys create NAME
#   docker run --rm -p 127.0.0.1:8080:8080 -v tracebond-home:/home/node/.tracebond -v tracebond-cache:/home/node/.cache/tracebond tracebond
#
# No container engine has built it yet. `npm run image` reads this file and carries out each instruction of it in temporary roots.
#
# What a build repeats: the base image by its digest, every npm package by the lock, all sources. What it does not: Debian's packages
# in the last stage, which are those of the day and so have that day's security fixes.

# The digest is that of the index of all platforms, as many public projects pin this very tag; it was not pulled here. Print it anew with
#   docker buildx imagetools inspect node:20.20.2-bookworm-slim
# and change it in the label of the last stage too.
FROM node:20.20.2-bookworm-slim@sha256:2cf067cfed83d5ea958367df9f966191a942351a2df77d6f0193e162b5febfc0 AS base
WORKDIR /app

# What runs: no package for development was ever here.
FROM base AS deps
COPY package.json package-lock.json .npmrc ./
COPY agents/setup/prune-packages.mjs agents/setup/
# No dependency needs its install script; ONNX Runtime's would fetch CUDA libraries.
RUN --mount=type=cache,target=/root/.npm npm ci --ignore-scripts --omit=dev
RUN node agents/setup/prune-packages.mjs node_modules

# What is compiled: the program, and the inspector's page.
FROM base AS build
COPY package.json package-lock.json .npmrc ./
RUN --mount=type=cache,target=/root/.npm npm ci --ignore-scripts
COPY . .
RUN npm run build

FROM base AS runtime
# tini is the first process: it passes signals on before the program listens for them, and takes in orphans. Python with pip is one of the
# two sources of the model. bubblewrap is the second wall around the sandbox where the container may make namespaces; elsewhere the program
# says "no second wall".
RUN apt-get update \
  && apt-get install -y --no-install-recommends bubblewrap ca-certificates python3 python3-pip tini \
  && rm -rf /var/lib/apt/lists/* /var/cache/apt /var/cache/debconf/*-old /var/log/apt /var/log/dpkg.log
ENV NODE_ENV=production \
  TRACEBOND_HOME=/home/node/.tracebond \
  TRACEBOND_CACHE=/home/node/.cache/tracebond
# Keys and runs are for their owner alone. The root itself may be read-only.
RUN install -d -o 1000 -g 1000 -m 700 "$TRACEBOND_HOME" \
  && install -d -o 1000 -g 1000 /home/node/.cache "$TRACEBOND_CACHE"
COPY package.json LICENSE ./
COPY --from=deps /app/node_modules node_modules
# The set-up and the command as in the published package; no TypeScript source of theirs lies beside them, so dist is run.
COPY agents/cli/tracebond.mjs agents/cli/
COPY agents/setup agents/setup
# The bundler puts the SDK's own source into every guest script.
COPY agents/sdk agents/sdk
COPY inference/spec inference/spec
COPY --from=build /app/dist dist
LABEL org.opencontainers.image.title="tracebond" \
  org.opencontainers.image.description="A verifiable AI-agent runtime" \
  org.opencontainers.image.version="0.1.0" \
  org.opencontainers.image.licenses="Apache-2.0" \
  org.opencontainers.image.base.name="node:20.20.2-bookworm-slim" \
  org.opencontainers.image.base.digest="sha256:2cf067cfed83d5ea958367df9f966191a942351a2df77d6f0193e162b5febfc0"
# By number, so that Kubernetes sees that it is not root.
USER 1000:1000
VOLUME ["/home/node/.tracebond", "/home/node/.cache/tracebond"]
# serve inference, serve runtime
EXPOSE 8080 8090
STOPSIGNAL SIGTERM
# The first start fetches the model and converts it.
HEALTHCHECK --interval=15s --timeout=5s --start-period=180s --retries=3 CMD ["node", "/app/agents/setup/container-health.mjs"]
ENTRYPOINT ["tini", "--", "node", "/app/agents/cli/tracebond.mjs"]
CMD ["serve", "inference", "--host", "0.0.0.0"]
