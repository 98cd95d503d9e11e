# One image for every service: which one runs is the command's choice (docker-compose.yml).
FROM node:20.20.2-bookworm AS build
WORKDIR /weft
COPY . .
# The compiler comes with the image; kernels are compiled for every processor that it may run on. Tools that only build and test stay behind.
RUN WEFT_ALL_ISAS=1 npm run build && npm prune --omit=dev --no-audit && rm -rf build test

FROM node:20.20.2-bookworm-slim
WORKDIR /weft
COPY --from=build --chown=root:root /weft .
# A volume that is mounted here belongs to whom the folder belonged to.
RUN install -d -o node -g node /data
USER node
ENV NODE_ENV=production NODE_OPTIONS=--enable-source-maps
