set -euo pipefail
folder=$out/$sitePackages
mkdir -p "$folder"
cp -r "$src/." "$folder"
chmod -R u+w "$out"
paths=()
for input in ${buildInputs:-}; do paths+=("$input/lib"); done
addAutoPatchelfSearchPath() { paths+=("$@"); }
eval "${preFixup:-}"
while read -r own; do paths+=("$own"); done < <(find "$folder" -type d)
find "$folder" -name '*.so*' > objects
while read -r object; do
  rpath=()
  for soname in $(readelf -dW "$object" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do
    found=
    case $soname in lib[cm].so.6) continue ;; esac
    for path in "${paths[@]}"; do
      if [ -e "$path/$soname" ]; then found=$path; break; fi
    done
    if [ -n "$found" ]; then
      rpath+=("$found")
    elif [[ " ${autoPatchelfIgnoreMissingDeps:-} " != *" $soname "* ]]; then
      echo "could not satisfy dependency $soname wanted by $object" >&2
      exit 1
    fi
  done
  $tool elf --set-rpath "$(IFS=:; echo "${rpath[*]}")" "$object"
done < objects
