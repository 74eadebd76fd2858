# The builder of the stub's derivations: phases are run with the host's own programs.
set -euo pipefail
# with structured attributes Nix exports none: they stand in a file
if [ -e "${NIX_ATTRS_SH_FILE-}" ]; then
  source "$NIX_ATTRS_SH_FILE"
  for output in "${!outputs[@]}"; do declare -x "$output=${outputs[$output]}"; done
  export PATH
fi
export TMPDIR="$NIX_BUILD_TOP" TZ=UTC
umask 022

runHook() { :; }

# makeWrapper PROGRAM OUT [--add-flags FLAGS] [--set-default NAME VALUE]
makeWrapper() {
  local program=$1 out=$2 flags=
  shift 2
  mkdir -p "$(dirname "$out")"
  echo '#!/bin/bash' > "$out"
  while [ $# -gt 0 ]; do
    case $1 in
    --add-flags) flags="$flags $2"; shift 2 ;;
    --set-default) echo "export $2=\${$2-'$3'}" >> "$out"; shift 3 ;;
    *) echo "makeWrapper: $1?" >&2; exit 1 ;;
    esac
  done
  echo "exec $program$flags \"\$@\"" >> "$out"
  chmod +x "$out"
}

if [ -n "${buildCommand-}" ]; then
  eval "$buildCommand"
else
  mkdir "$TMPDIR/source"
  cd "$TMPDIR/source"
  cp -r "$src/." .
  chmod -R u+w .
  eval "$buildPhase"
  eval "$installPhase"
fi
# nixpkgs' versionCheckHook
if [ -n "${doInstallCheck-}" ]; then env -i "$out/bin/$mainProgram" --version | grep -wF "$version"; fi
