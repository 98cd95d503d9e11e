# One image for every service: which one runs is the command's choice (docker-compose.yml). Target weft-gpu has the CUDA kernels too.
FROM node:20.20.2-bookworm AS build
WORKDIR /weft
COPY . .
# The compiler comes with the image; kernels are compiled for every processor that it may run on.
RUN WEFT_ALL_ISAS=1 npm run build \
  && deploy/assemble.sh /out \
  && npm prune --omit=dev --no-audit \
  && cp -R node_modules /out

FROM nvidia/cuda:13.0.1-devel-ubuntu22.04 AS cuda
WORKDIR /weft
COPY --from=build /usr/local/bin/node /usr/local/bin/node
COPY --from=build /weft .
RUN node scripts/weft.mjs native --cuda

FROM node:20.20.2-bookworm-slim AS weft
WORKDIR /weft
COPY --from=build /out .
# A volume that is mounted here belongs to whom the folder belonged to.
RUN install -d -o node -g node /data
USER node
ENV NODE_ENV=production NODE_OPTIONS=--enable-source-maps

FROM weft AS weft-gpu
COPY --from=cuda /weft/libs/kernels/build/weft-cuda.fatbin libs/kernels/build/

# What `docker build .` makes.
FROM weft
