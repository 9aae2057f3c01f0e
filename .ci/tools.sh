#!/bin/bash
# Install the foreign programs that tests meet where they are: a browser, cross compilers, emulated machines.
#
# A test skips, and says why, without the one it needs: so nothing here fails.
set -euo pipefail
cd "$(dirname "$0")/.."
. .ci/apt.sh

missing=()
while read -r program package; do
    command -v "$program" >/dev/null || missing+=("$package")
done <<'EOF'
chromium chromium
clang clang
riscv64-unknown-elf-gcc gcc-riscv64-unknown-elf
qemu-system-riscv32 qemu-system-misc
arm-none-eabi-gcc gcc-arm-none-eabi
qemu-system-arm qemu-system-arm
EOF
[ ${#missing[@]} = 0 ] || apt_install "${missing[@]}"
