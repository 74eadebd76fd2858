// Signatures of store paths. The daemon keeps any signature that it gets (AddSignatures checks none), so a signature counts
// only after a check here. It is ed25519 over the path, the hash and size of its archive, and its references. The daemon
// itself has checked that the archive has this hash.
import { createPublicKey, type KeyObject, verify } from 'node:crypto'
import { nixBase32 } from '../daemon/base32.ts'
import type { PathInfo } from '../daemon/daemon.ts'

/** Public keys by their name; two keys may share one. */
export type PublicKeys = ReadonlyMap<string, readonly KeyObject[]>

/** The key of the binary cache that Nix uses by default (Nix's globals.hh, the default of trusted-public-keys). */
export const DEFAULT_KEY = 'cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY='

/** The bytes before the 32 bytes of an ed25519 key in its DER form (RFC 8410, SubjectPublicKeyInfo). */
const KEY_PREFIX = Buffer.from('302a300506032b6570032100', 'hex')
const KEY_LENGTH = 32
const SIGNATURE_LENGTH = 64

/** Parses keys in the form of nix.conf, `name:base64`. Other texts are left out. */
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
 * The signed text (Nix's path-info.cc, ValidPathInfo::fingerprint); null for a path whose size or hash is unknown. The
 * references are sorted by their bytes, as in Nix's set of them.
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
