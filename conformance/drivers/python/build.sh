# Installs the SDK with the extra given, as its users get it, into a virtual environment of the driver's own.
set -e
[ -x "$BUILD/venv/bin/python" ] || python3 -m venv "$BUILD/venv"
pip="$BUILD/venv/bin/python -m pip --quiet --disable-pip-version-check"
$pip install "../../../sdk-python$1"
$pip install --no-deps --force-reinstall ../../../sdk-python
