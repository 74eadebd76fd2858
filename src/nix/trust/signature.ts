// Signatures of store paths. The daemon keeps whatever signature it is given (AddSignatures checks none), so one counts
// only where it verifies here: it is ed25519 over the path, the hash and size of its archive, and its references. The daemon
// itself has made sure that the archive has that hash.
import { createPublicKey, type KeyObject, verify } from 'node:crypto'
import { nixBase32 } from '../daemon/base32.ts'
import type { PathInfo } from '../daemon/daemon.ts'

/** Public keys by their name; two keys may share one. */
export type PublicKeys = ReadonlyMap<string, readonly KeyObject[]>

/** Of the binary cache that Nix uses by itself (Nix's globals.hh, the default of trusted-public-keys). */
export const DEFAULT_KEY = 'cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY='

/** What stands before the 32 bytes of an ed25519 key in its DER form (RFC 8410, SubjectPublicKeyInfo). */
const KEY_PREFIX = Buffer.from('302a300506032b6570032100', 'hex')
const KEY_LENGTH = 32
const SIGNATURE_LENGTH = 64

/** Keys as nix.conf has them, `name:base64`; what is none is left out. */
export function parseKeys(texts: readonly string[]): PublicKeys {
  const keys = new Map<string, KeyObject[]>()
  for (const text of texts) {
    const [name, bytes] = splitNamed(text)
    if (name === '' || bytes.length !== KEY_LENGTH) continue
    const key = createPublicKey({ key: Buffer.concat([KEY_PREFIX, bytes]), format: 'der', type: 'spki' })
    keys.set(name, [...(keys.get(name) ?? []), key])
  }
  return keys
}

/** Has one of these keys signed what the daemon says of the path? */
export function isSigned(info: PathInfo, keys: PublicKeys): boolean {
  const signed = fingerprint(info)
  if (signed === null) return false
  return info.signatures.some(text => {
    const [name, signature] = splitNamed(text)
    if (signature.length !== SIGNATURE_LENGTH) return false
    return (keys.get(name) ?? []).some(key => verify(null, Buffer.from(signed), key, signature))
  })
}

/**
 * What is signed (Nix's path-info.cc, ValidPathInfo::fingerprint). Null for a path whose size or hash is not known.
 * The references are sorted by their bytes, as Nix's set of them is.
 */
function fingerprint({ path, narHash, narSize, references }: PathInfo): string | null {
  if (!/^[0-9a-f]{64}$/.test(narHash) || narSize === 0) return null
  const hash = `sha256:${nixBase32(Buffer.from(narHash, 'hex'))}`
  return `1;${path};${hash};${narSize};${[...new Set(references)].sort().join(',')}`
}

function splitNamed(text: string): [string, Buffer] {
  const colon = text.indexOf(':')
  return [text.slice(0, Math.max(colon, 0)), Buffer.from(text.slice(colon + 1), 'base64')]
}
