// Finds the subject of a traceback line, because users paste the error that they have just seen.

/** The lines that loaders, Python and Qt print. Each pattern captures the name in the line. */
const SENTENCES: readonly RegExp[] = [
  // glibc: "libGL.so.1: cannot open shared object file: No such file or directory"
  /([^\s:'"]+): cannot open shared object file/,
  // musl: "Error loading shared library libfoo.so.1: No such file or directory (needed by …)"
  /Error loading shared library ([^\s:'"]+):/,
  // glibc: "/lib/libm.so.6: version `GLIBC_2.38' not found (required by /…/x.so)"
  /version [`'"]\S+['"] not found \(required by ([^)\s]+)\)/,
  // "ImportError: /…/x.so: undefined symbol: _ZN…"
  /([^\s:'"]+): undefined symbol:/,
  // "/…/x.so: cannot enable executable stack as shared object requires", "…: cannot allocate memory in static TLS block"
  /([^\s:'"]+): cannot (?:enable executable stack|allocate memory in static TLS)/,
  // NixOS's stub-ld: "Could not start dynamically linked executable: ruff"
  /Could not start dynamically linked executable: (\S+)/,
  // a shell: "bash: .venv/bin/ruff: cannot execute: required file not found", "no such file or directory: ./ruff"
  /([^\s:'"]+): (?:cannot execute: required file not found|No such file or directory)$/,
]

/** The file, soname or plugin in a pasted line. Any other text is returned unchanged. */
export function nameIn(text: string): string {
  const line = text.trim()
  const plugin = /could not load the Qt platform plugin "(\w+)"/i.exec(line)?.[1]
  if (plugin !== undefined) return `libq${plugin}.so`
  for (const pattern of SENTENCES) {
    const found = pattern.exec(line)?.[1]
    if (found !== undefined) return found
  }
  return line
}
