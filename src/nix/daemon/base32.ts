// Nix's base 32. Nix writes hashes in it, in names and in the texts that it signs.

const DIGITS = '0123456789abcdfghijklmnpqrsvwxyz'

/** Writes bytes in base 32: five bits a digit, from the last byte on (Nix's libutil, base-nix-32.cc). */
export function nixBase32(bytes: Uint8Array): string {
  let text = ''
  for (let n = Math.ceil((bytes.length * 8) / 5) - 1; n >= 0; n--) {
    const bit = n * 5
    const low = bytes[bit >> 3] ?? 0
    const high = bytes[(bit >> 3) + 1] ?? 0
    text += DIGITS[((low >> (bit & 7)) | (high << (8 - (bit & 7)))) & 0x1f] ?? ''
  }
  return text
}
