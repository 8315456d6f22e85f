# An image of the compiled program. It has been written with care and not been built yet: no container engine was at hand.
# The model is not inside: mount a cache volume at /home/node/.cache/tracebond, or name a file in TRACEBOND_MODEL.
#
#   docker build -t tracebond .
#   docker run --rm -v tracebond-cache:/home/node/.cache/tracebond --entrypoint node tracebond agents/setup/bootstrap.mjs --model
#   docker run --rm -v tracebond-cache:/home/node/.cache/tracebond tracebond --help
#
# To serve models to others, with an access key that is printed once:
#
#   docker run --rm -v tracebond-home:/home/node/.tracebond tracebond access-keys create NAME
#   docker run --rm -p 8080:8080 -v tracebond-cache:/home/node/.cache/tracebond -v tracebond-home:/home/node/.tracebond \
#     tracebond serve inference --host 0.0.0.0

FROM node:20-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# No dependency needs its install script; ONNX Runtime's would fetch CUDA libraries.
RUN npm ci --ignore-scripts
COPY . .
RUN npm run build && npm prune --omit=dev --ignore-scripts

FROM node:20-bookworm-slim
# Python with pip is one of the two sources of the model; bubblewrap is the second wall around the sandbox, where the container may
# make namespaces (else the program says "no second wall").
RUN apt-get update \
  && apt-get install -y --no-install-recommends bubblewrap ca-certificates python3 python3-pip \
  && rm -rf /var/lib/apt/lists/*
ENV NODE_ENV=production
WORKDIR /app
COPY --from=build /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
COPY --from=build /app/package.json /app/LICENSE ./
# The set-up and the command as in the published package; no TypeScript source lies beside them, so dist is run.
COPY --from=build /app/agents/cli/tracebond.mjs ./agents/cli/tracebond.mjs
COPY --from=build /app/agents/setup ./agents/setup
# The bundler puts the SDK's own source into every guest script.
COPY --from=build /app/agents/sdk ./agents/sdk
COPY --from=build /app/inference/spec ./inference/spec
RUN mkdir -p -m 700 /home/node/.tracebond && mkdir -p /home/node/.cache/tracebond \
  && chown -R node:node /home/node/.tracebond /home/node/.cache
USER node
VOLUME /home/node/.cache/tracebond /home/node/.tracebond
ENTRYPOINT ["node", "/app/agents/cli/tracebond.mjs"]
CMD ["--help"]
