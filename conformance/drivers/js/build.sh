# Installs the SDK from its tarball, as its users get it, into a directory of its own with the drivers beside it.
set -e
sdk=$(cd ../../../sdk-js && pwd)
mkdir -p "$BUILD"
[ -d "$sdk/node_modules/typescript" ] || (cd "$sdk" && npm ci --no-audit --no-fund --silent)
rm -rf "$BUILD"/*.tgz "$BUILD/node_modules/lockserver-client"
npm pack "$sdk" --silent --pack-destination "$BUILD" >/dev/null
cp esm.mjs cjs.cjs driver.cjs leaks.cjs "$BUILD"
echo '{"private": true}' >"$BUILD/package.json"
cd "$BUILD"
npm install --no-audit --no-fund --silent --no-save ./lockserver-client-*.tgz
