// Where a Python's OpenSSL looks for certificates. The paths are strings in the file that holds OpenSSL: its libcrypto, its
// _ssl module, or the Python itself, which many builds link OpenSSL into.
import { dirname } from 'node:path'
import { ElfError } from '../../elf/error.ts'
import { readElf, withoutTables } from '../../elf/read.ts'
import { readRegular } from '../../io/beneath.ts'
import { errnoOf } from '../../io/error.ts'
import { entriesIn, namesIn } from '../../io/path.ts'
import { withSource } from '../../io/source.ts'
import { fork, open } from '../../ldso/process.ts'
import type { Facts } from './facts.ts'

/** The size limit in bytes. A Python with everything linked in has about 100 MB. */
const LARGEST_OPENSSL = 256 << 20

/** What OpenSSL says about its own folder (crypto/info.c). Only a file with OpenSSL inside has this text. */
const MARK = 'OPENSSLDIR: "'

/** Bundles of the systems that wheelfix knows: NixOS and Debian, Fedora, SUSE, Alpine, and Nix's own profiles. */
const BUNDLES = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/ssl/certs/ca-bundle.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
  '/etc/ssl/cert.pem',
  '/nix/var/nix/profiles/default/etc/ssl/certs/ca-bundle.crt',
] as const

/**
 * The bundle at another place, for a Python that finds no certificates, and a sentence that says where this Python looks.
 * null for a Python that finds some, and where no bundle is known.
 */
export function missingCertificates(facts: Facts): { readonly value: string; readonly reason: string } | null {
  const { env, isThere } = facts
  const paths = pathsInOpenSsl(facts)
  if (paths === null || findsCertificates(paths, facts)) return null
  const nix = env['NIX_SSL_CERT_FILE'] ?? ''
  const home = env['HOME'] ?? ''
  const profile = home.startsWith('/') ? [`${home}/.nix-profile/etc/ssl/certs/ca-bundle.crt`] : []
  const value = [...(nix.startsWith('/') ? [nix] : []), ...BUNDLES, ...profile].find(path => isThere(path))
  if (value === undefined) return null
  const places = [...paths.files, ...paths.folders]
  return { value, reason: `has an OpenSSL that looks for certificates in ${places.join(' and ')}, and finds none` }
}

interface OpenSslPaths {
  readonly files: readonly string[]
  readonly folders: readonly string[]
  /** nixpkgs' OpenSSL also reads NIX_SSL_CERT_FILE. */
  readonly readsNixVariable: boolean
}

/** The paths of the OpenSSL that `import ssl` loads; null where no file of this Python holds one. */
function pathsInOpenSsl(facts: Facts): OpenSslPaths | null {
  for (const path of filesOf(facts)) {
    const bytes = readRegular(path, LARGEST_OPENSSL)
    const at = bytes?.indexOf(MARK) ?? -1
    if (bytes === null || at === -1) continue
    const start = at + MARK.length
    const folder = bytes.subarray(start, bytes.indexOf('"', start)).toString('latin1')
    // X509_CERT_FILE and X509_CERT_DIR (include/internal/common.h) are below that folder, unless a packager changed them
    const files = [`${folder}/cert.pem`, '/etc/ssl/certs/ca-certificates.crt', '/etc/pki/tls/cert.pem']
    const folders = [`${folder}/certs`, '/etc/ssl/certs']
    const holds = (text: string) => bytes.includes(`\0${text}\0`)
    return {
      files: files.filter(holds),
      folders: folders.filter(holds),
      readsNixVariable: holds('NIX_SSL_CERT_FILE'),
    }
  }
  return null
}

/** The files that may hold the OpenSSL of `import ssl`: what _ssl loads, then _ssl itself, libpython and the program. */
function filesOf({ python, interpreter }: Facts): readonly string[] {
  const modules = standardLibraries(python.caller.path, interpreter.program).map(folder => `${folder}/lib-dynload`)
  const own = modules.flatMap(folder =>
    namesIn(folder).flatMap(name => (/^_ssl\..*so$/.test(name) ? `${folder}/${name}` : [])),
  )
  const loaded = own.flatMap(path => {
    try {
      const process = fork(python.process)
      open(process, python.caller, path, path, withoutTables(withSource(path, readElf)))
      return process.maps.map(map => map.path).filter(mapped => /\/libcrypto[.-]/.test(mapped))
    } catch (error) {
      if (error instanceof ElfError || errnoOf(error) !== undefined) return []
      throw error
    }
  })
  return [...new Set([...loaded, ...own, python.caller.path, interpreter.program])]
}

/** The folders with the standard library beside these programs. */
export function standardLibraries(...programs: readonly string[]): string[] {
  const prefixes = new Set(programs.map(program => dirname(dirname(program))))
  return [...prefixes].flatMap(prefix =>
    entriesIn(`${prefix}/lib`).flatMap(({ name }) => (/^python3\.\d+t?$/.test(name) ? `${prefix}/lib/${name}` : [])),
  )
}

function findsCertificates({ files, folders, readsNixVariable }: OpenSslPaths, facts: Facts): boolean {
  const { env, isThere, interpreter, python } = facts
  const told = [env['SSL_CERT_FILE'] ?? '', readsNixVariable ? (env['NIX_SSL_CERT_FILE'] ?? '') : '']
  if ([...told, ...files].some(path => isThere(path))) return true
  // OpenSSL finds a certificate in a folder by the hash of its subject (c_rehash)
  const hasHashes = (folder: string) => namesIn(folder).some(name => /^[0-9a-f]{8}\.\d+$/.test(name))
  if ([env['SSL_CERT_DIR'] ?? '', ...folders].some(hasHashes)) return true
  // python-build-standalone has had its own bundle since 2026, for systems without any folder of certificates
  const own = standardLibraries(python.caller.path, interpreter.program).map(
    lib => `${dirname(dirname(lib))}/etc/ssl/cert.pem`,
  )
  return !folders.some(folder => isThere(folder)) && own.some(path => isThere(path))
}
