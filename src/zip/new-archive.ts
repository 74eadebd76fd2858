// A new archive, made by yazl: entries in the order in which they are given, deflated. Wheels are rewritten by write.ts.
import yazl from 'yazl'

interface NewEntry {
  /** Relative, with slashes. */
  readonly name: string
  readonly content: Uint8Array
}

/** The archive's bytes; the same for the same entries. */
export async function makeArchive(entries: readonly NewEntry[]): Promise<Buffer> {
  const archive = new yazl.ZipFile()
  // the moment and the time zone are nobody's business
  const options = { mtime: new Date(1980, 0, 1), mode: 0o100644, forceDosTimestamp: true }
  for (const { name, content } of entries) archive.addBuffer(Buffer.from(content), name, options)
  archive.end()
  const chunks: Buffer[] = []
  for await (const chunk of archive.outputStream) chunks.push(Buffer.from(chunk))
  return Buffer.concat(chunks)
}
