# The drivers of the Node.js SDK, with the SDK installed from its tarball.
FROM node:22-bookworm-slim AS pack
WORKDIR /src/sdk-js
COPY sdk-js/package.json sdk-js/package-lock.json sdk-js/.npmrc ./
RUN --mount=type=cache,target=/root/.npm npm ci --no-audit --no-fund
COPY LICENSE ..
COPY sdk-js .
RUN mkdir /out && npm pack --pack-destination /out

FROM node:22-bookworm-slim AS driver
WORKDIR /driver
COPY conformance/drivers/js/*.mjs conformance/drivers/js/*.cjs .
COPY --from=pack /out /sdk
RUN --mount=type=cache,target=/root/.npm npm install --no-audit --no-fund --no-save /sdk/*.tgz
USER node
WORKDIR /home/node

FROM driver AS js-esm
ENTRYPOINT ["node", "/driver/esm.mjs"]

FROM driver AS js-cjs
ENTRYPOINT ["node", "/driver/cjs.cjs"]
